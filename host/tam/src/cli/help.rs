//! The long help texts. The examples are carried out as printed by tests.

/// The smallest configuration that works, and how to serve it.
pub const SERVE_HELP: &str = "The smallest configuration, desired.toml, with the development keys that
`make run` creates, in the folder of the project:
  [tam]
  key = \".cache/keys/dev/tam.key.pem\"
  chain = \".cache/keys/dev/tam.chain.pem\"
  ocsp = [\".cache/keys/dev/tam.ocsp\", \".cache/keys/dev/tam-issuing-ca.ocsp\"]
  tee_roots = [\".cache/keys/dev/tee-root.pem\"]

  [[sd]]
  name = \"com.example.domain\"
  spid = \"com.example\"
  certificates = [\".cache/keys/dev/sp-ec.der\"]

  [[sd.ta]]
  id = \"com.example.app\"
  file = \"app.ta\"

The OCSP responses, which expire after a day, and the TA, signed by the service provider:
  otrp-keys ocsp --cert .cache/keys/dev/tam.pem --issuer .cache/keys/dev/tam-issuing-ca.pem \\
      --responder .cache/keys/dev/tam-ocsp --out .cache/keys/dev/tam.ocsp
  otrp-keys ocsp --cert .cache/keys/dev/tam-issuing-ca.pem --issuer .cache/keys/dev/tam-root.pem \\
      --responder .cache/keys/dev/tam-root-ocsp --out .cache/keys/dev/tam-issuing-ca.ocsp
  otrp-keys sign-ta --key .cache/keys/dev/sp-ec.key.pem --uuid 7265664a-f108-4bd7-af1c-86d044babbac \\
      --ta-version 1 --in .cache/image/samples/signer-v1.elf --out app.ta

Then:
  otrp-tam check --config desired.toml
  otrp-tam serve --config desired.toml --listen 0.0.0.0:8080 --state tam.redb
and on a device:
  otrp-agent request http://TAM-HOST:8080/

The server does not start if `check` finds an error. It reads the configuration again when one of
its files changes; if the new one is wrong, the log says so once, and the former one stays in use.
OCSP responses are read for each device; if a device would refuse them, the server answers 500.
GET /health answers 200. On SIGTERM and SIGINT the server ends within seconds; sessions end with it,
and devices connect again. What a device answered is on disk before the next request is sent.

Each server needs a --state of its own. The file belongs to the server's user: once the server has
started, other users cannot open it. If one of them has it locked already, the server puts a copy in
its place and logs it.";

/// Every key of the configuration.
pub const CONFIGURATION: &str = "The configuration is a TOML file. Paths are relative to it.
Certificates, keys and OCSP responses are PEM or DER. An unknown key is an error.

[tam], who this TAM is:
  key             private key: P-256, or RSA of 2048 to 4096 bits
  chain           certificates: the TAM's own first, then each issuer, the root at the end
  ocsp            OCSP responses to staple: for the TAM's certificate, then for each CA below the
                  root. Without them no device trusts the TAM
  tee_roots       roots of the vendors whose devices are served. Certificates for another purpose
                  are not accepted as devices: a CA's, or one whose extendedKeyUsage has neither
                  anyExtendedKeyUsage nor the purpose of TEEs. Keys and signatures up to a root are
                  judged as devices judge them: P-256 (CAs also P-384), uncompressed, or RSA of 2048
                  to 4096 bits with an odd exponent of 65537 to 4294967295
  require_tee_purpose  true: serve only devices whose certificate has the extendedKeyUsage
                  2.25.210040065247686543256106716383694557268.1, as `otrp-keys certify` writes it;
                  by default a certificate without extendedKeyUsage is accepted too
  tam_roots       TAM roots that the devices are built with (trust/tam-roots). With it, `check`
                  reports a chain under another root, and `chain` needs no root; without it, the
                  root in `chain` is assumed to be one of them
  id              TAM identifier, if the certificate has it as registeredID; by default the
                  certificate's URI, else its DNS name
  content_encryption  encryption of requests: \"A128CBC-HS256\" (the default), \"A256CBC-HS512\",
                  \"A128GCM\" or \"A256GCM\". Like the next two it may be a list, the preferred
                  algorithm first; the others are for devices that do not support it
  key_management  how keys reach the device: \"ECDH-ES+A128KW\" (the default) or \"ECDH-ES+A256KW\"
                  for devices with EC keys; \"RSA-OAEP-256\" and \"RSA-OAEP\" (the default, in this
                  order) or \"RSA1_5\", which is used only if listed, for devices with RSA keys.
                  Answers by other algorithms are refused. RSA1_5 in answers is refused only if RSA
                  algorithms are listed and it is not among them, because a device with EC keys
                  answers the commands of a TAM with an RSA key by RSA1_5
  ta_encryption   encryption of images and personalization data: \"A256GCM\" (the default), or
                  \"AESCBC\", which does not authenticate them
  firmware_roots  serve only devices whose firmware signs under these roots; by default all
  devices         list of the devices that are served, CSV as `otrp-keys inventory` writes it: by key
                  (column key_sha256), or in a list without it by certificate (did). By default all
                  devices below `tee_roots` are served
  admit_new       false: serve only devices that were served before, as `devices` lists them; true
                  by default. With `devices`, a device must be on the list as well. A device that is
                  not admitted gets 403, and the log has the SHA-256 of its key
  retired         devices that get nothing more, each by the fingerprint of its key, which `devices`
                  prints after `key`: the SHA-256 of its SubjectPublicKeyInfo in hexadecimal. An
                  identifier (`did`) works too, for a device that has shown it to this TAM; prefer
                  the key, because a renewed certificate has another identifier
  allow_deletion  name of a desired state, as the log and `check --state` print it, that may delete
                  more than a tenth of the TAs known to be installed (counted on each device), and
                  more than one. Without it such a state is not carried out, and the server does not
                  start with it, because half a file is a valid file. Everything that is installed
                  and no longer desired counts, and everything on `retired` devices, until the
                  device has deleted it or the change was confirmed. A server that knows no device
                  counts what was desired last (the file beside --state that ends in .desired) as
                  installed on one

[tam.alternative], the same TAM's key of the other type, EC or RSA, for TEEs that do not verify
signatures of the first one: key, chain, ocsp

[[sd]], a security domain on each device; what a device has of this TAM and the file does not list
is deleted:
  name            its name, 1 to 64 bytes
  spid            its service provider, 1 to 64 bytes
  certificates    certificates of 1 to 4 signers of its TAs

[[sd.ta]], a TA in the domain above it:
  id              its name in OTrP, 1 to 64 bytes
  file            signed image, as `otrp-keys sign-ta` or OP-TEE's sign_encrypt.py writes it
  personalization file that only this TA can fetch, at most 16 KiB; none by default. Every device
                  below `tee_roots` receives it, so it can be read by anyone who extracts the key of
                  one device or gets a false device certified. It must not contain anything whose
                  disclosure on a single device would matter
";

pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed, 2 wrong command line.";

pub const MESSAGE_HELP: &str = "Examples:
  otrp-tam message --config desired.toml get-device-state > request.json
  otrp-tam message --config desired.toml --state tam.redb create-sd --spid com.example --sd new \\
      --spcert .cache/keys/dev/sp-ec.der > request.json
  otrp-tam message --config desired.toml --state tam.redb --enc A256GCM --alg ECDH-ES+A256KW \\
      install-ta --spid com.example --sd com.example.domain --ta com.example.app --file app.ta \\
      > request.json
Then, on the device:
  otrp-agent process < request.json > answer.json";

pub const CHECK_HELP: &str = "Example:
  otrp-tam check --config desired.toml
  otrp-tam check --config desired.toml --state tam.redb";

pub const OPEN_HELP: &str = "Examples:
  otrp-tam open answer.json --config desired.toml --dsi-out dsi.json
  otrp-tam open answer.json --config desired.toml --dsi dsi.json
  otrp-agent ta-info com.example com.example.app | otrp-tam open - --state tam.redb";
