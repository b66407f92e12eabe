//! The long texts of the help.

/// The smallest configuration that works, and how to serve it.
pub const SERVE_HELP: &str = "The smallest configuration, desired.toml, with the development keys that
`make run` makes, in the folder of the project:
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

The OCSP responses, which end after a day, and the application, signed by the service provider:
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

The server does not start where `check` finds an error. It reads the configuration anew when one of
its files changes; if that is wrong, the log says so once and the configuration of before stays in
use. OCSP responses are read for each device; where a device would refuse them, the server answers
500. GET /health answers 200. At SIGTERM and SIGINT it ends within seconds. No two servers may use
one --state, which is a file for the server's user alone: others cannot open it any more once the
server starts, and one of them who has it locked does not stop the server, which then puts a copy
in its place and says so in the log. What a device answered is on the disk
before the next request is sent; sessions end with the server, and devices connect again.";

/// Everything that a configuration can hold.
pub const CONFIGURATION: &str = "The configuration is a file in TOML. Paths are relative to it.
Certificates and keys are in PEM or DER, signed images and OCSP responses as they are made.

[tam], who this TAM is:
  key             its private key: P-256, or RSA of 2048 to 4096 bits
  chain           its certificates: its own first, then each one's issuer, the root at the end
  ocsp            the OCSP responses to staple: for its own certificate, then for each authority
                  below the root; DER. A device trusts no TAM without
  tee_roots       the roots of the makers whose devices are served. What their authorities certify
                  for another purpose is not taken for a device: an authority's certificate, or one
                  whose extendedKeyUsage has neither anyExtendedKeyUsage nor the purpose of TEEs.
                  Keys and signatures on the way to a root are judged as devices judge them: P-256,
                  for authorities P-384 too, uncompressed, or RSA of 2048 to 4096 bits with an odd
                  exponent of 65537 to 4294967295
  require_tee_purpose  true: serve only devices whose certificate names the purpose of TEEs,
                  2.25.210040065247686543256106716383694557268.1, in its extendedKeyUsage, as
                  `otrp-keys certify` writes it; by default one without extendedKeyUsage will do
  tam_roots       the TAM roots that devices are built with (trust/tam-roots). With it `check`
                  finds a chain under another root, and `chain` needs no root; without it the root
                  in `chain` is taken for one of them
  id              the TAM's identifier, where the certificate says it as a registeredID; by default
                  the certificate's URI, else its DNS name
  content_encryption  how requests are encrypted: \"A128CBC-HS256\" (the default), \"A256CBC-HS512\",
                  \"A128GCM\" or \"A256GCM\". Like the next two it may be a list, the preferred one
                  first; the others are for devices that lack it
  key_management  how keys reach the device: \"ECDH-ES+A128KW\" (the default) or \"ECDH-ES+A256KW\"
                  where its keys are elliptic, \"RSA-OAEP-256\" and \"RSA-OAEP\" (the default, in
                  this order) or \"RSA1_5\", which is used only if listed, where they are RSA.
                  Answers by others are refused. Of the answers RSA1_5 is refused only if other
                  RSA algorithms are listed: a device with elliptic keys answers the commands of a
                  TAM with an RSA key by RSA1_5
  ta_encryption   how images and personalization data are encrypted: \"A256GCM\" (the default), or
                  \"AESCBC\", which does not authenticate them
  firmware_roots  serve only devices whose firmware signs under these roots; by default all
  devices         the list of the devices that are served, in CSV as `otrp-keys inventory` writes it:
                  a device is on it by its key (column key_sha256), or in a list without that
                  column by its certificate (did). By default all below `tee_roots` are served
  admit_new       false: serve only devices that were served before, as `devices` lists them; by
                  default true. With a list, a device has to be on it as well. A device that is
                  not admitted gets 403, and the log has the SHA-256 of its key
  retired         devices that shall have nothing more, each by the fingerprint of its key, which
                  `devices` prints behind `key`: the SHA-256 of its SubjectPublicKeyInfo in
                  hexadecimal. An identifier (`did`) works too, for a device that has shown it to
                  this TAM or shows it now; a certificate that is renewed has another, so prefer
                  the key
  allow_deletion  the name of a desired state, as the log and `check --state` say it, that may
                  delete more than a tenth of the applications which the server knows to be
                  installed, counted on each device, and more than one: without it such a state is
                  not carried out, nor does the server start with it, because half a file is a
                  valid file. What is installed and not desired any more, and all that a device in
                  `retired` has, counts until the device has deleted it or this member has
                  confirmed it; a server that knows no device counts what was desired last, which
                  is in the file beside --state that ends in .desired, as installed on one

[tam.alternative], the same TAM's key of the other type, EC or RSA, for TEEs that do not verify the
first one's signatures: key, chain, ocsp

[[sd]], a security domain that each device shall have; what a device has of this TAM and the file
does not list is deleted:
  name            its name, 1 to 64 bytes
  spid            its service provider, 1 to 64 bytes
  certificates    the certificates of 1 to 4 signers, under which its TAs are signed

[[sd.ta]], a trusted application in the domain above it:
  id              its name in OTrP, 1 to 64 bytes
  file            the signed image, as `otrp-keys sign-ta` or OP-TEE's sign_encrypt.py makes it
  personalization a file that only this TA is given, at most 16 KiB; by default none. Every device
                  below `tee_roots` gets it, so whoever extracts the key of one device, or
                  has one certified, reads it: put nothing in it that must not be known if a
                  single device is broken
";

pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed, 2 a wrong command line.";

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
