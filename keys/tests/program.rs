//! The program as its users meet it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const UUID: &str = "7265664a-f108-4bd7-af1c-86d044babbac";

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_otrp-keys"))
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap()
}

fn succeed(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An application of `UUID`.
fn write_elf(folder: &Path) {
    let uuid: otrp_keys::Uuid = UUID.parse().unwrap();
    fs::write(folder.join("in.elf"), otrp_check::fixture::application(uuid.0, b"")).unwrap();
}

#[test]
fn the_way_from_keys_to_a_signed_application_and_a_device() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let steps = succeed(path, &["init", "--out", "dev"]);
    assert_eq!(
        steps.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")).count(),
        24,
        "{steps}"
    );
    write_elf(path);
    for key in ["dev/sp-rsa.key.pem", "dev/sp-ec.key.pem"] {
        let arguments = [
            "sign-ta",
            "--key",
            key,
            "--uuid",
            UUID,
            "--ta-version",
            "2",
            "--in",
            "in.elf",
            "--out",
            "out.ta",
        ];
        succeed(path, &arguments);
        let shown = succeed(path, &["show", "out.ta"]);
        for expected in [UUID, "version     2", "156 bytes", "(matches)"] {
            assert!(shown.contains(expected), "{shown}");
        }
    }
    let csr = Command::new("openssl")
        .current_dir(path)
        .args([
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-keyout",
            "device.key",
            "-subj",
            "/CN=device",
            "-outform",
            "DER",
            "-out",
            "device.csr",
        ])
        .output()
        .expect("the openssl program");
    assert!(csr.status.success());
    succeed(path, &["certify", "--ca", "dev/tee-ca", "--csr", "device.csr", "--out", "device.pem"]);
    // The purpose of TEEs, made of the broker's UUID.
    for (file, is_for_tees) in [
        ("device.pem", true),
        ("dev/tee-ca.pem", true),
        ("dev/tee-root.pem", false),
        ("dev/tam.pem", false),
        ("dev/tam-issuing-ca.pem", false),
    ] {
        let purposes = Command::new("openssl")
            .current_dir(path)
            .args(["x509", "-noout", "-ext", "extendedKeyUsage", "-in", file])
            .output()
            .expect("the openssl program");
        let purposes = String::from_utf8(purposes.stdout).unwrap();
        let purpose = "2.25.210040065247686543256106716383694557268.1";
        assert_eq!(purposes.lines().any(|line| line.trim() == purpose), is_for_tees, "{file}");
    }
    let shown = succeed(path, &["show", "device.pem"]);
    assert_eq!(shown.matches("certificate\n").count(), 3, "{shown}");
    assert!(shown.contains("digital signature, key agreement"), "{shown}");
    for (file, expected) in [
        ("device.csr", "made by this key"),
        ("dev/tam.der", "https://tam.example.org/otrp"),
        ("dev/tam.key.pem", "private key"),
        ("dev/ta-signing.pub.pem", "public key   RSA, 2048 bits"),
    ] {
        assert!(succeed(path, &["show", file]).contains(expected), "{file}");
    }
}

#[test]
fn a_folder_of_requests_becomes_a_folder_of_chains_and_an_inventory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    succeed(path, &["init", "--out", "dev"]);
    for folder in ["requests", "chains"] {
        fs::create_dir(path.join(folder)).unwrap();
    }
    for name in ["1", "2"] {
        let (key, out) = (format!("{name}.key"), format!("requests/{name}.csr"));
        let made = Command::new("openssl")
            .current_dir(path)
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-keyout", &key, "-subj", "/CN=optee", "-out", &out])
            .output()
            .expect("the openssl program");
        assert!(made.status.success());
    }
    let certify = ["certify", "--ca", "dev/tee-ca", "--csr-dir", "requests", "--out-dir", "chains"];
    let output = succeed(path, &certify);
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("1/2 chains/1.chain.pem: did "), "{output}");
    assert_eq!(lines[2], "2 certified, 0 left as they were");
    let list = succeed(path, &["inventory", "chains"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], "did,serial,subject,key,not_before,not_after,chain,key_sha256");
    assert!(lines[2].contains(",chains/2.chain.pem,") && lines.len() == 3, "{list}");

    // What is not a request is named, and no failure.
    fs::create_dir(path.join("requests/more")).unwrap();
    std::os::unix::fs::symlink("nowhere", path.join("requests/link")).unwrap();
    fs::write(path.join("requests/photo.jpg"), [0x30, 0x82, 1, 2, 3]).unwrap();
    let output = run(path, &certify);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(
        said,
        [
            "otrp-keys: 3/5 requests/link is left alone: it cannot be read: No such file or directory (os error 2)",
            "otrp-keys: 4/5 requests/more is left alone: it is a folder, and what is in it is not read",
            "otrp-keys: 5/5 requests/photo.jpg is left alone: the block of DER is cut off or damaged",
        ]
    );
    for name in ["link", "photo.jpg"] {
        fs::remove_file(path.join("requests").join(name)).unwrap();
    }
    fs::remove_dir(path.join("requests/more")).unwrap();

    fs::write(path.join("requests/0.csr"), "text").unwrap();
    fs::write(path.join("chains/0.chain.pem"), "text").unwrap();
    let output = run(path, &certify);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("otrp-keys: 1/3 cannot certify requests/0.csr: "), "{said}");
    assert!(said.starts_with("otrp-keys: warning: chains/0.chain.pem is damaged"), "{said}");
    assert!(said.ends_with("otrp-keys: 1 refused\n"), "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("0 certified, 2 left as they were"));
    let output = run(path, &["inventory", "chains"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), list);
    assert!(String::from_utf8(output.stderr).unwrap().contains("chains/0.chain.pem"));

    // Two names of one key: neither is listed, both are named.
    fs::remove_file(path.join("chains/0.chain.pem")).unwrap();
    fs::copy(path.join("chains/1.chain.pem"), path.join("chains/3.chain.pem")).unwrap();
    let output = run(path, &["inventory", "chains"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), [lines[0], lines[2]]);
    let said = String::from_utf8(output.stderr).unwrap();
    for (file, other) in [("1", "3"), ("3", "1")] {
        let sentence = format!(
            "otrp-keys: chains/{file}.chain.pem: the same key is in chains/{other}.chain.pem: "
        );
        assert!(said.contains(&sentence), "{said}");
    }
    assert!(said.ends_with("otrp-keys: 2 without a place in the inventory\n"), "{said}");

    // The sentences of the usage, and what it refuses.
    assert!(succeed(path, &["certify", "--help"]).contains("--csr-dir requests --out-dir chains"));
    for arguments in [
        &["certify", "--ca", "dev/tee-ca"][..],
        &["certify", "--ca", "dev/tee-ca", "--csr", "requests/1.csr"],
        &["certify", "--ca", "dev/tee-ca", "--csr-dir", "requests"],
        &["certify", "--ca", "dev/tee-ca", "--csr", "x", "--csr-dir", "y", "--out-dir", "z"],
    ] {
        assert_eq!(run(path, arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn failures_are_one_sentence_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    succeed(path, &["init", "--out", "dev"]);
    write_elf(path);
    fs::write(path.join("text"), "text").unwrap();
    let chain = ["tam-issuing-ca.pem", "tam-root.pem"]
        .map(|file| fs::read_to_string(path.join("dev").join(file)).unwrap());
    fs::write(path.join("dev/tam-issuing-ca.chain.pem"), chain.concat()).unwrap();
    let authorities = "mkdir alone; cp dev/tee-ca.* dev/tam-issuing-ca.* alone
        printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\nextendedKeyUsage=serverAuth' >web.cnf
        openssl req -new -key dev/tee-ca.key.pem -subj '/CN=web' -out web.csr
        openssl x509 -req -in web.csr -extfile web.cnf -CA dev/tee-root.pem -CAkey dev/tee-root.key.pem -out web.pem
        cat web.pem dev/tee-root.pem >alone/web-ca.chain.pem; cp dev/tee-ca.key.pem alone/web-ca.key.pem
        cat dev/tam.pem dev/tam-issuing-ca.pem >two.pem";
    let made = Command::new("sh").args(["-euc", authorities]).current_dir(path).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let lock = "openssl pkcs8 -topk8 -in dev/sp-ec.key.pem -passout pass:x -out locked.pem";
    assert!(Command::new("sh").args(["-c", lock]).current_dir(path).status().unwrap().success());
    let sign = |key: &'static str, elf: &'static str, out: &'static str| {
        vec![
            "sign-ta",
            "--key",
            key,
            "--uuid",
            UUID,
            "--ta-version",
            "1",
            "--in",
            elf,
            "--out",
            out,
        ]
    };
    let certify = |ca: &'static str, csr: &'static str| {
        vec!["certify", "--ca", ca, "--csr", csr, "--out", "out"]
    };
    let ocsp = |cert: &'static str, issuer: &'static str, responder: &'static str| {
        vec!["ocsp", "--cert", cert, "--issuer", issuer, "--responder", responder, "--out", "out"]
    };
    let rows: Vec<(Vec<&str>, &str)> = vec![
        (vec!["init", "--out", "dev"], "contains development keys already"),
        (vec!["init", "--out", "text"], "cannot write text: Not a directory"),
        (
            vec!["init", "--out", "/proc/keys-cannot-be-here"],
            "cannot write /proc/keys-cannot-be-here",
        ),
        (sign("dev/sp-ec.key.pem", "text", "out"), "text: it is not an ELF file"),
        (sign("dev/sp-ec.key.pem", "absent", "out"), "cannot read absent: No such file"),
        (
            sign("dev/sp-ec.pem", "in.elf", "out"),
            "dev/sp-ec.pem: it holds a certificate, and a private key is wanted",
        ),
        (sign("dev/sp-ec.key.pem", "in.elf", "/dev/full"), "cannot write /dev/full: No space left"),
        (
            certify("dev/tee-ca", "text"),
            "cannot certify text: it holds nothing in PEM or DER, and a certification request is wanted",
        ),
        (certify("dev/nobody", "text"), "cannot read dev/nobody.key.pem"),
        (certify("dev/tam", "text"), "not a certification authority's"),
        (certify("dev/tam-issuing-ca", "text"), "is it the CA of the TEEs?"),
        // Without the folder of anchors the certificate itself has to say it.
        (certify("alone/tam-issuing-ca", "text"), "nothing shows that it is the CA of the TEEs"),
        (certify("alone/tee-ca", "text"), "cannot certify text: it holds nothing in PEM or DER"),
        (certify("alone/web-ca", "text"), "is for other purposes than TEEs"),
        (sign("locked.pem", "in.elf", "out"), "under a passphrase, which is not asked for here"),
        (
            [sign("dev/sp-ec.key.pem", "in.elf", "out"), vec!["--algorithm", "rsa-pss"]].concat(),
            "rsa-pss is not a signature that this key can create: it creates ecdsa",
        ),
        (vec!["show", "text"], "text is not a certificate"),
        (
            vec!["show", "dev/tam.pem", "--signed-by", "two.pem"],
            "two.pem: it holds 2 times a certificate, and one is wanted",
        ),
        (ocsp("two.pem", "dev/tam-root.der", "dev/tam-ocsp"), "two.pem: it holds 2 times"),
        (ocsp("dev/tam.der", "two.pem", "dev/tam-ocsp"), "two.pem: it holds 2 times"),
        (
            ocsp("dev/tam.der", "dev/tam-root.der", "dev/tam-root-ocsp"),
            "not issued by that authority",
        ),
        (ocsp("dev/tam.der", "dev/tam-issuing-ca.der", "dev/tam"), "nor certified by it for OCSP"),
        (
            ocsp("dev/tam.der", "dev/tam-issuing-ca.der", "dev/tam-root-ocsp"),
            "nor certified by it for OCSP",
        ),
        (ocsp("dev/tam.der", "text", "dev/tam-ocsp"), "text: it holds nothing in PEM or DER"),
        (ocsp("dev/tam.der", "dev/tam-issuing-ca.der", "dev/nobody"), "cannot read dev/nobody"),
        (
            [ocsp("dev/tam.der", "dev/tam-issuing-ca.der", "dev/tam-ocsp"), vec!["--at", "noon"]]
                .concat(),
            "'noon' is not a time like",
        ),
        (
            [
                ocsp("dev/tam.der", "dev/tam-issuing-ca.der", "dev/tam-ocsp"),
                vec!["--at", "9999-12-31T23:59:59Z"],
            ]
            .concat(),
            "is not a time like",
        ),
    ];
    for (arguments, expected) in rows {
        let output = run(path, &arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(message.starts_with("otrp-keys: "), "{message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        for clause in message.trim().split(": ") {
            assert_eq!(message.matches(clause).count(), 1, "twice in {message}");
        }
        assert!(!path.join("out").exists());
    }
}

/// A reader that has gone is no failure, and no reason to stop what is being done.
#[test]
fn a_closed_pipe_does_not_stop_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    succeed(path, &["init", "--out", "dev"]);
    fs::create_dir(path.join("requests")).unwrap();
    let request = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout device.key \
         -subj /CN=optee -out requests/1.csr";
    assert!(
        Command::new("sh")
            .args(["-c", request])
            .current_dir(path)
            .output()
            .unwrap()
            .status
            .success()
    );
    let program = env!("CARGO_BIN_EXE_otrp-keys");
    let vet = "vet --chain dev/tam.chain.pem";
    for (arguments, remains) in [
        ("init --out other", "other/trust/tee-root.der"),
        ("show dev/tam.chain.pem", "dev"),
        ("certify --ca dev/tee-ca --csr-dir requests --out-dir chains", "chains/1.chain.pem"),
        ("certify --ca dev/tee-ca --csr requests/1.csr --out one/1.pem", "one/1.pem"),
        ("inventory chains", "dev"),
        (vet, "dev"),
        ("show text", "dev"),
    ] {
        fs::create_dir_all(path.join("one")).unwrap();
        // Standard output and standard error are a pipe that nobody reads any more.
        for closed in ["", "2>&1"] {
            let script = format!(
                "mkfifo pipe; (exec >pipe; sleep 0.2; exec '{program}' {arguments} {closed}) & \
                 exec 3<pipe; exec 3<&-; wait $!"
            );
            let output =
                Command::new("sh").args(["-c", &script]).current_dir(path).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let expected = i32::from(
                arguments == "show text" || (arguments.starts_with("init") && closed == "2>&1"),
            );
            assert_eq!(output.status.code(), Some(expected), "{arguments} {closed}: {errors}");
            assert!(!errors.contains("panicked"), "{arguments}: {errors}");
            assert!(path.join(remains).exists(), "{arguments}");
            fs::remove_file(path.join("pipe")).unwrap();
        }
    }
    // What is cut off for another reason is a failure.
    let script = format!("'{program}' inventory chains >/dev/full");
    let output = Command::new("sh").args(["-c", &script]).current_dir(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("cannot write the output: No space left")
    );
}
