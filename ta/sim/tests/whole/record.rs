//! The store's record, read by the description in the engine's `registry/codec.rs` and by none of its code.

/// What tests look for in a record.
pub struct Record {
    /// The scalar of the TEE's key; `None` if it is an RSA key.
    pub tee_key: Option<Vec<u8>>,
    /// The TEE's certificates.
    pub tee_chain: Vec<u8>,
    /// The numbers and scalars of attestation keys; no scalar if it is an RSA key.
    pub aiks: Vec<(u32, Option<Vec<u8>>)>,
}

struct Reader<'r>(&'r [u8]);

impl<'r> Reader<'r> {
    fn take(&mut self, length: usize) -> &'r [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn count(&mut self) -> usize {
        u16::from_be_bytes(self.take(2).try_into().unwrap()).into()
    }

    fn text(&mut self) {
        let length = self.take(1)[0];
        self.take(length.into());
    }

    fn option(&mut self, length: usize) {
        if self.take(1)[0] == 1 {
            self.take(length);
        }
    }

    fn key(&mut self) -> Option<Vec<u8>> {
        match self.take(1)[0] {
            4 => {
                self.take(64);
                Some(self.take(32).to_vec())
            }
            1 => {
                self.take(256);
                None
            }
            other => panic!("a key of kind {other}"),
        }
    }
}

impl Record {
    /// Reads a record.
    pub fn read(record: &[u8]) -> Self {
        let mut reader = Reader(record);
        assert_eq!(reader.take(1), [3]);
        let tee_key = reader.key();
        let length = reader.count();
        let tee_chain = reader.take(length).to_vec();
        reader.take(4 + 8 + 32 + 4);
        let times = reader.count();
        reader.take(times * 40);
        for _ in 0..reader.count() {
            reader.take(4);
            reader.text();
            reader.take(32 + 32 + 32 + 8);
            reader.option(32);
        }
        let authorities = reader.count();
        reader.take(authorities * 40);
        for _ in 0..reader.count() {
            reader.take(8);
            reader.text();
            reader.text();
        }
        let mut aiks = Vec::new();
        for _ in 0..reader.count() {
            let number = u32::from_be_bytes(reader.take(4).try_into().unwrap());
            reader.take(4);
            reader.text();
            aiks.push((number, reader.key()));
        }
        Self { tee_key, tee_chain, aiks }
    }
}
