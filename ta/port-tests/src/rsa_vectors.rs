//! RSA signatures and forgeries over one digest; written by make_rsa_vectors.py.

use otrp_engine::crypto::rsa::signature::Padding;

/// A signature and what a check must say of it.
pub struct Vector {
    /// What it is.
    pub name: &'static str,
    /// The padding to check.
    pub padding: Padding,
    /// The key's modulus.
    pub modulus: &'static [u8],
    /// The key's public exponent.
    pub exponent: &'static [u8],
    /// The signature.
    pub signature: &'static [u8],
    /// Whether it is one over [`DIGEST`].
    pub valid: bool,
}

/// Decodes hexadecimal digits while this is compiled; white space is left out.
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "what is wrong here does not compile"
)]
const fn unhex<const N: usize>(text: &str) -> [u8; N] {
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    let (mut index, mut count) = (0, 0);
    while index < digits.len() {
        let value = match digits[index] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'f' => digit - b'a' + 10,
            b' ' => {
                index += 1;
                continue;
            }
            _ => panic!("no hexadecimal digit"),
        };
        bytes[count / 2] = bytes[count / 2] << 4 | value;
        index += 1;
        count += 1;
    }
    assert!(count == 2 * N, "another length");
    bytes
}

/// SHA-256 of `OTrP conformance`.
pub const DIGEST: &[u8; 32] =
    &unhex("ddd5cd0e55d140efb779a9bad43e74c1c40955315b3c134701af8f94841dd6c6");

const MODULUS_2048: &[u8] = &unhex::<256>(
    "\
     b13a63f381b6aebd6deced726e6d6f62f3f4a8246b4718267d7675d5a9b395ce8b36115ce606dfbe6d1ff32affac1 \
     bde15fe0fd1a12229fdefd051254038be08d6d75f3a56bd2389c33c96d0af331e7c1a47be1aa93a68de3453aef740 \
     4592c9548d9129c615b3814680d730d8419d305fee7c6ad991165a6d0259d91672a1cbfc2bb244a5ae4a048d9776a \
     714807ac7ddab0c64458b4e7464523230ae6edd7cee3623d4a6b9d39fd5940d24d00324aa0f20b84341c220c6bc66 \
     f89fe815c09dc0326fb994f00c609855e52c8df04d4db415c2f34ef4bc00d63bdcebcdb31e19621a87693223e0a23 \
     dfd40c0d9a49f43cda4831a170d704b34dcbb754b3c0b37",
);

const MODULUS_4096: &[u8] = &unhex::<512>(
    "\
     a490782d070f5df6f0271afeffa6678898f4402e4ef8ede256b0dece33e16152773a69b3ea3295cf2159f7120d36f \
     dc1d84e40b640a88cc41c6f99b170f0ab9aff849e91c077e91f39550233e78e00ef5dd3dab018470cae344f8d7ba0 \
     bc228d76611f45720058b1c40a0dd25d641abda0ffa360897c8ed6386a602a303bd35dac83d00743b3da7aee32e3e \
     6cf478ea45c0905ef531806794364e6ab83d2f0b88ee79e8a89dc20ae072600d2d7486d9b913dda152848c2ed2c1a \
     8c4f5538020755bf7cd7e1a09a506fce6a2fbe5a8551c31efa818ef5e96bf5468b67acf7c42980ea241478ef61633 \
     e11f4d2efb605aa0fff9e209b46a35c4bf284c5578eb36fcf5ff1e37f2cd6f87acc3376c4d30aa13181114c1b6554 \
     e38c6f958c60730c50d17fb0721b8691e4430a618055d8fc2bdcd28071e13e892e224deedb758d3685ee3888e3d98 \
     9ff79033e3187e3191ec4b15c6d9cefd45c99804974251496869a60f5adda90689317329041cdb24e37684909ff39 \
     aadb02f878e6546d0de1101406ca4d82cbff45710075fa3ffda3091c47e15cbb2f0a793b06dc2466de0bc292b1bf3 \
     bc718cf75cd45fd3bef62b4a22d7b9137595ba38aea804080dd7d377e09932b2165bb9f5757a7bad0615f0b7d7994 \
     69589ce0148a68fb144971da40109adde4d6fcfebb8822225d299a2dd0e8a621108407d0b41db86fcf44b49aae6fb \
     9",
);

const MODULUS_2049: &[u8] = &unhex::<257>(
    "\
     01579d8ee37520d71d8bc3d4bd8ac4183e99b1857829b6f6482a34c55eec576a5a0d7265c0b3792023ac25f9474e6 \
     4e6a15aa2ff0010e54d3705e3631698a9fb153908ca330e9e129dd371dfd0f48ccd54aab89e6628353964f96a6823 \
     8d2e0fccf8eeac1cbd938c8e7a899f66a42e26df308c3869aa9fc750c7856cb4ffc2a169c207663e429aaa8817004 \
     974e3ef58ba6a48a1644782a7ec6dc74510e4a1f8ba8cfab92f8cf33a59830b9de631db38f99ca75f479ef5dafa49 \
     1176dd39daf9e7470441023cda6beb3652bf3ddfadae731d938977c5cd251a30629b9af654b7bec13873a6f2f7f83 \
     7bc0ea44b41c99535990d98cb1f3a012de9aa5985fe2b2871",
);

const MODULUS_THREE: &[u8] = &unhex::<256>(
    "\
     d3bea6f1cf3b0722d65e9d3c83d030c7916fa3ee6c6cdca930b4353b2b2d80afc810ef4be91ab4780464f55beb0da \
     4da3cb7654b69705ebecccd2db2e3619c9ebb6ce2cf1ac2d674da43cee0c64807732be30385199ee4d486a92fab94 \
     a9bebac42216ae19045cd71c7225700c35c8c5c1e019e597f983e8879c3c304027e4cc8f0182f4e336d9b5dd6caea \
     f2363a58740cc2a281b6e6bed4f38bf119845efbb4815428e3dcbc24c828f34737fb6da065905a4430095979bbdd3 \
     85c1937db20d32d5f035d0b85f2ad59623033ed786a95eb0bc35b06cc8593668836b554119088bfb35b1751702a91 \
     5e936b51fc5284e480c37eeaf1cbc4cbbf2f408bbd1e747",
);

/// Every vector.
pub const VECTORS: &[Vector] = &[
    Vector {
        name: "PKCS1 with 2048 bits",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             59261d609cd8be58084d07d1e78a3e3c90d58036d0b21ad4f56bfa43ec5921e6716a1f6ff8efdc7d48e39 \
             e4ab11f88fd0e64a7f7ef3ae7f39953d16a0ffc29496e3c8f3035b976ac2ec6f67f51ff8d366d49757716 \
             1fa2ff2c9ecc800106e307fe6082ae6c9eb4ffafedf786a16763f52359634dbe47a8588f03d7f41a1f0ee \
             9e0d91118bad2df42f230ac63277aa7bbd86598371ce7ad4d174c51cd51ad5f09b689b3e7842724683f33 \
             4f4b94f9799989904cc0a750c9b2b36cc3f63e70407e47e0b61ee821d29b79db57fc174bbb925764928aa \
             3e6ec13ef2fcf5a8aca25dba116bf7f3042113fe8d1edbda3abe1f8b5de172439fea862d8a91ffdd5ccc6 \
             b5",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with 2048 bits",
        padding: Padding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             762189075aaa8b47f8fb5b69c532c53b141e76b863adccd18594993341b11ef0b72bba92fb2df88430866 \
             13008f1774c38c615a60aa44615397e8e800dd0e65c5c0af8c09e9325346daed20d0f4c439487815cd84c \
             d327a750555d977e52ab81a1f9af07b90713cee95c434485475c1e2ffc78b8b323c9c802448fca6567eca \
             417a8e9f3229f24d9fddb125fabc56c2c110e8f5ff44811f8f454b169986f3add73e991337155e32c2894 \
             d6b4e9ecb50ba7e71118f6d86df6a9a8606c981ae059ad8dd6b19a2ccb9ba76d0092129e24a65ee61dbfb \
             9baac8a825979c6f1b535222774ec4e716574f5ddbbd957840984da7c16ea1219e2efb6222cd5c2cc5c4a \
             72",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 with 2049 bits",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2049,
        exponent: &[1, 0, 1],
        signature: &unhex::<257>(
            "\
             00d76f5b8a086af65bf867aa4857f90a5104af7d567ed254aea474b80914dc8d5f5a8d452f89a9617e7ff \
             55eae77d1f0b7bf918e39540102325d296aab19ad6cbd657e1dbeea92d6e65d7842c4db6c48f0b53b8eea \
             ccc7b67e72c13c00265d4c2f3162b449d4eaeee24af98ff67fe9279a283cb61cdfb92dbdf020f0d13bfab \
             8c9b5218a25424cf717caddc57261ffb72a0434a0c5080776d44eff9f1d684cf3ef1bc8e34cadbc79bc52 \
             da4b8afb7e68c8b1ae58e815bf232b86be9dab4d69e866609059817c095ec74b9a0f169c42fcb237d9aa5 \
             8093d6aeeb79aae2ad3e1fbd5f966a9d4f4fad836b5e66a340b501ff859fd97f58e42cbbeae98e33d59da \
             53e8",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with 2049 bits",
        padding: Padding::Pss,
        modulus: MODULUS_2049,
        exponent: &[1, 0, 1],
        signature: &unhex::<257>(
            "\
             00589c8faef18d1d9a4b11b8f1d6c12e1527445c651e7af81276d0d421271daa689880d66b6b411c16a62 \
             7202b12594203f6818b5131369969afa615401ba0f0f763e7ee5f92ac9708e1e7c160dc9446dfe556c077 \
             76c15c29c70d3cd65b7c1f8ce94377749ef026767aedb0b1c099f58cf8bf2c1861950c42d4b75b3de2234 \
             d83ab8737a4c72d00809a01ecc2c69fc377054e4e6e2e6fbecafd219c2fa37f75477a442bd098af6666a7 \
             9f9bd2b7e7821d8a3c9503a719dfc33bd5f56dcb71acb4d74122ff204e6bed22edf4beaaf283d1ee9fc6c \
             9b1b5b482472c18a0792971e47763e9f48aaf5bb760f52cafd8aec9c13dcbb04da9b05fe19985c14647a3 \
             a82a",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 with 4096 bits",
        padding: Padding::Pkcs1,
        modulus: MODULUS_4096,
        exponent: &[1, 0, 1],
        signature: &unhex::<512>(
            "\
             73da552b69101e004ccaf8f95af0182b3fdc6e8cdd7bed9cfbb81a3386e202a8709b7c638085282a2c23e \
             86313c0ba7a2edcfa4ccb3c70c4d882a13f269a87d879009be7ed554a0452d08fb8807accdb2fa4186b8f \
             3e6469723d25ebd4c07b7150610477d6f119d51fe250eefea614228d7c284e79c6c690cd5c3e45839b024 \
             95a5428ba651bca62d63351bd21865b18e26dc7f20cac0361adbe4e451c36e08ae1c585fc5e1cbc6a1bb0 \
             56ba6d842e68c78a386ebeccf3e0469f10232333c66e8b3f3d281bb3df0e1990efef674bad35a0326ce13 \
             94623d1dd9af42b56b6aa97e9a0d310ce4d346bf710e8412b67959f7840a34f20807f62b4f8e00021225a \
             f62758bbe6e53253e6c68af70c131eec75df4dd516b5a9bd9ead3de3f80f363a76bf65f4c26f7b098f756 \
             9c7eb1728e6016b6570a4bbff2aadce9c16c436b70fdcdc29a3ed745a44fe915a38ede702fcefc5de997a \
             acef748ec022c75783620bdceae215cb0ff1195fc8e443c454a1dadc9f83b154d25531f17c36736fdfe57 \
             071207cf32d8d734bcac4d436cffcb07d412ca0d84d88d552a63aae1784d78c55d0172c3e6ec124df8dfe \
             5924d917d457bda7548b0192b184083198ff53b097d177d974a3f74b97bd0bf0a7078e3c0f012156be7fe \
             300b0ef7d0308f0cbb478c81771bbdafd48e9e2069f378549b6a42e7b86fc8ee99c076e616baa4a17bf4c \
             1f84",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with 4096 bits",
        padding: Padding::Pss,
        modulus: MODULUS_4096,
        exponent: &[1, 0, 1],
        signature: &unhex::<512>(
            "\
             64b8b3a9742111fce3251e45d6d306166d5fdbf56a5527b5a4dfe4b75ecac995ca9a5884ea948f965da07 \
             ea922f6725f2822b338775b64364cd525d335b39362bcdfd93115188d449396ff915d456b6f74aeae2670 \
             4ef00440f3d4c1919090f1304d1f381a123472def111db9bcb450eb0506eb8c746b9c6431c5b5334fb2bd \
             1ed79f1c67f7a7365643f9c7a9ee3389fb5d468fcc89ae59d10f5479dbdb1c7bad13e3184ea5cab44d141 \
             63b7d76556d2ff8064bd61164d0c54a22fbdbfc6fce1e54a93d8ad1a1177b094517b7b622f4b83dd8a8c0 \
             ef7e9537a3a8cd5c28d26e47008cdd73406909aec0e392606c70ca6aab6ce10eb6d4cdf5b8bf15a9040b5 \
             e28de74ff8abfa58d85bed0f81254b1a0942365dcce86bcc38ebc989121e467d93da0c0a7461d85f097d0 \
             2a28ffae75855225bf80f0a77a8c89063a1482f160cf89da6d602f323e14a734b0caa4b6d8f73e867f202 \
             342348511a31816b4ad2306ed84f0482fc9bcffcd43e476f969a7e1e2f0e91e26e687f539a762e15ed7e5 \
             f2c28e84e753cd20bbf4d90507566ca4dcd12da5098ead834dae5a4aa2465c27316b8a9f749b84bbfb1c1 \
             90ab1e4ce777d2600846f41d7bbe54e41894799c2490e50723d8d429e52e987e5c94bdf9909004a8a9314 \
             9808dd9cfa28e16514f33bfe96ceb217dda83debca8f9ee549bd2d1cf318c3515886b8c56cf7c1109bdd7 \
             e8ea",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 with exponent 3",
        padding: Padding::Pkcs1,
        modulus: MODULUS_THREE,
        exponent: &[3],
        signature: &unhex::<256>(
            "\
             0aeab440e3619755db50fdcb0bdf7745f98e604879101a4b8257ff2f61dd78f7f6b77496d807f71e99554 \
             d8016e65aaa5db20bc45d6e3f88b4cc3d544a545c99522acce2358024f7b5888622dbdad311ad057a26de \
             ce83402ba9b5aaa36b0347c3eb160e7f30f44056ea4bee56d4bba13cda9bb75fc94ee14a335d684e7bb99 \
             d7833f679299003763ac459ca4f45f331724c1b2766e672fb50fca0d816d353abdafd50819c48918ef859 \
             c8d93a65a0cea987b92595ac489e618216f39c61210132c1ec716318e4e022f3d0cfd936f7b2e4138efa5 \
             e68b678c190a4db6d1fc64c6699470904ca7459a93076be1e4707cd0016a4e97ca16a7dc066e694123803 \
             c6",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with exponent 3",
        padding: Padding::Pss,
        modulus: MODULUS_THREE,
        exponent: &[3],
        signature: &unhex::<256>(
            "\
             41e5503c5dcb398b44c39fa61176b0fb0b93738d6f88531a75e921dcac10998056e84a0ce89f9f371feb0 \
             fe04d5f2fd37d8c7684d1710f1f9c2b66fe1b2773e71f985a3a21f846439518077553d72e6660577338fb \
             7e0feebb34b9e867c319dc9640b8a4b8b98009945648d4c5b34e434b1e376ccece2cc2fba66cc31c60b32 \
             5d0e63df3445367185a0eabca8ec864074d420cd6522ee9c66891ec9f8d85a1a4be2e0371f717d1cc0835 \
             653e21d367aadea965e223df51b391073a8cb63c815df7d792b5d64a9fd5c4bf6b47e5a48130cccf823b2 \
             5f7c6677ac56f23fa1c927f1994c713d3fd457d89280271f83a3db0865e030cde3c8536bd7d293370e2f6 \
             c4",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 without the NULL",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             8bb061899a23990e335cf1c2f372074ac107891d2080612219b41a2adfae3a5886b1a0889d07f9a773bb0 \
             0a940be913152a0f5773fcb87dcb03ae75934e6fbca28e4e98a696752b2d1deb45ffbde6a85b4cfc46e4a \
             defd879d16dc9bbbcce5323e63f906e33b5fd1a270007a1b6e1667853da8ce9fb77e10823927c915be553 \
             b805be17883a837bbb066e6d81ad6f4b5bb88b33a5b49a805791d9ede2eb85d730daeb627c181910b3441 \
             40f2f92b6a9f2c38f041862f8e0e2169b79df65d6bf00af53012f6308e63a26a557c9c6d4867cb131509f \
             46b9c956f4a736c8802b1d9020587c1f8031c6d22bf0f6472fc7774c829014e09362f404a0edbaab50e47 \
             a6",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with SHA-1",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             6cb7475c8aa102ddec192e3b23125cfa58b4160a897c56f908d2302be6fcefad7e74caf46dd7957a69bdd \
             b0c3787ea7162c42f80b6689731bd4d55f45d698827c81071079aee3a974ba815036f0971c779bf0dd215 \
             d9c6f3bcc1e0909274f50bc7eed83761d850b856ecab79eedbfd7c34b4fdcf4cda048b61c39dc59f8cd63 \
             fbcbcba227f38924e23f71fdadbddb3917dd2721eb311c556822c2d2e1aaa50322c7ccb8c5cd1404c128d \
             0f7af5e26f7f1bd76988031e08cb68ab2cf64ddc1d9a7e79ab01163175bec874b3ca8016d3c99d8aeed7a \
             54b430ea59e990a612dedce5856076b9ea1ad83817d72d72ca197d615d0a40ba652bc7186270c3efa5362 \
             bf",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with an object identifier of 33 arcs",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             97549426a74f8789f090fdf8a0146cae435213b2a6e4d17e6561845c84817472ca1edbd505b95537817b5 \
             08801a3f7a58bec466797012f753d580e0593643508fb96fb894f9acd0b3e6fb6fa0b002b9ae849e00798 \
             4be978b3dc146079c5faef983eb37b56b4d8213b8532eaac913e4a7d6ac07942262a690528a9a3da5e51d \
             b918a52729448d2f4d97ddb62934a9daa46aab13afa9fd18e85ca7ade919cb13d7f8423af52689952d5d4 \
             d5ddf4f605ebe6b6241e3b45169a18243b858879f23d2415135b1df0ebd75f39ea01672f912a765f27e16 \
             e882ba7891809a3c1f6b5046c635c16dcd0361458cd6671231ee7f811a05bfa0af472a4b148aa38fd8879 \
             ea",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with a digest of 128 octets",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             4061e8b540a7536a66b4b9850c289853de5067ef9f120fdbb2181ced58c7e9f4e185cbfbb2a6b6be4b8a8 \
             d534fa3638d06662225bc61f17b2aa0fc4a66e67975fcc4a3b69387426cb41db04d436ac3559b85246b2e \
             fdb482f172b2bfe1fd5a6534387d0031ad1150d2f029ffcdb02241442599aded8ccd0503786f85ac6cd2b \
             fd0284ed7d5ad60a6b40bf47c92b98ff38d2a9b9bbe39820ee594b4820bd28b67233d8a502ffc738edbcf \
             31690b41c78b7bc24207d960b2341e30ceb1a68601f751fcd96ce9bf80be75461664d03a1ac81e48d8d4a \
             da2b9a6a97e4ef519004376b1b24d8ced9b98e869c7b5df80e42b1f51c19f4574d1b8e7ce4860e18bd0df \
             01",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with rubbish for DigestInfo",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             a5295e8a5ea62cede125a97c5e5ace3b9ba59f2cace1b3fa853448febfd0e07780c0823828eb794cd18e7 \
             578fccd47b610cb6207383bece8b90206f6f985141cd2c9dfc851f03ae0879da5b22ebd45a75076272783 \
             bf98465e4d00ad8f4f703623906474d7c69ba45e39f5444403ae963393a526b31be7860aeae63b96cfe3b \
             210b964f797fc3f2d5759379910077a7c125671ddd8c9c6f240034aaac951c4e4f185b9bbb905441a3bf7 \
             deea18ee07a886c1f5e9ef7831c404697b092d57c3976e7588d975819c75de68ca0d0d24b280620542a5e \
             105450d64c7f34104a9f4720e757010acbc84b0d3c070d782327294992031a9bb68fc46f1d6a86563c417 \
             d8",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with nothing for DigestInfo",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             2e70ebb01a088178f92fcf16aed8b5c32148e387a2399a5390f77418727abc67730e26f90f1ac2f16b882 \
             372085e643e5e8fb9e4f18aa35116ae3e3531591318477dcf6fdad813fae3b84e974f1c81ab84bc66dedd \
             dce56d267f40bbcc6dbadd63ab534d5fe3d8f7d6b04770c18cb86b05ed2b5a6619b0a1d5e4dc5f2208ba9 \
             b0504ba963c29b147719267b2d4fe43507680c41959944cc932af5930b64f42f98220f08393cda3898f25 \
             6b4160557dc91f415cce478af5060c4cea54274088ce49efbf1746ed6da9fe0b22b439ef6140a8d028a0d \
             c5a4e84a4c656327eb611e369b1045d22e6c4ab783c54248eb325d2b2f03f7f6cd9f082e81ac9d6003be6 \
             33",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with the digest alone",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             15e8270b3816596905e342083d7df36c6358934cb6bc430e8b7174172f9d45aacf38e2d04c10dddd825d3 \
             c1dbbacff95f1e9a0369d5eb6be0544618e1335111122e824710b3c9336d48c7420f9f3354ecd3879bb30 \
             3a1286ebc4551b3aa9a0b4527f9cfb2ce9fbb94e95eddd2ccfdf1ae91cf303460f44c62bd248e3f594b6c \
             3907eb10fc5b89629baeb4fb095b25afd50c6e5e64c49f55a89eae0f1236aaa08af114c54e2f8481111c3 \
             bb4336c644be81c7d921dd33cd7c9f15cdc3afa55e8c2c7798a6a1a6a2d50766196670f5a855b77427bfa \
             18f5769562f70a7c6eceb2b9425a7481218e9a9d87417654d0841a5c7bb0f1553d83a4306b6cab5f98ecc \
             ce",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with octets behind the digest",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             2efda24dd0e1bb955a1df573f97692b805c6dfebb6432c999afa2c6e28979bbd45edac223d08d2cf04f0d \
             e963b65dba849831a483bfe2173b9873fc5e631e1b17a14244699c4ac2d19eaeeed71d874b7c549261b45 \
             62ca70052e3dca49118beae8d17f4cb7dfde1f3559768f6d0f353eaaed8494a5c5f8b6f53d0cfe5e4436e \
             ab1af5393de692ba93cfd6bff9286117f52c723b76a62d94d5f455e10483f686a1d30808f050ee37a4802 \
             8cd238317204bce9d069d0eac9dffd03585d8554c8a20efe2481d76c114f9215c602bda184e4905c933af \
             14cc20331770fe8f60f611d2bd609b4db0b09e95d39b67fd3403b16c5a4ca6b07987dedf94afab23f7071 \
             e1",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with block type 2",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             68c1b960c9e1c9dddb73b9b3b79f2458452673739a3e07983f4b217261efd8594b3d5dec33572f86bf491 \
             5614bb56632aad945f8d8c9257d1605196beae5dfd9cc0bcc7effee4de66c1f96557db7cd6e3c1555c037 \
             c61cee085787a6d142e9384cc825315b68c661a5b9bda358541156be9c6a616cb246792bec468a0a1faa7 \
             8b41e9e07114da1c5f907101576704f8e76279529c66dd529cfcb164a40ae7fbe570a1761b20f340db62e \
             2add1893933ac3b7a0ac056c8abc628ce4dd0cffe488fef74b4cc00c73b098049bac7320bd0f2dc26fa80 \
             4dac6d0a4a8efdbd12e15b02fc6a29abfac619b541bd93de8bfd13b4a718193eb0f19d29c720857c203ad \
             a8",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with a zero in the padding",
        padding: Padding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             0363be3ee6c99fe00a78532f6a5f32cefd27caf8cca5882b472b03fe95fd5f2f76f97a9c4436606814021 \
             416afb73301a616a4f44a4d23c702b763911ba60752d24058d60a6927283b36bd192e20c9387b26d00780 \
             7f6c0a24cc7a92e0633a5968f56e9aae39d9a1288f869a02b0337a551132e30fea8f32d344814aa3a8b41 \
             ce89f6d02be4c4224305515a1a625a4ad8eb2616e3b932d4d78087e20640aba85f0269308939a7ffee8c5 \
             2f2180bd3a881fd60c6ac3509f71accdcf8c4d07b5acb23c5ef487bb7b8046403a2e0e7ce6ba63d01f830 \
             ec75c0147a4f962c39c1f0a1cc7e406145fedc8c9348629a7dbe97abbdc9b54c3ff89561a1ab2ba06327e \
             e0",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with a salt of 20 octets",
        padding: Padding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             29b8d176f3c8594a68ea302f949e127ffc49bfe6efefb56282bb6250f9c4831b21552f0b77c4b21aaacf1 \
             ab24b91ebd40ffba83e0002fc47780992b0c0dd608ba89e89ba8b6b244ed993dac9a0e626cf8748357cee \
             77610b2255a65c26b12f1f247093921c612d5f7e4c56bc85fbf911ad7889e2ac334594c3e5a85ffd2b504 \
             655ebc2bd69a01bb33c7a247596f8f6ea90718750e7d5dce30d9898b07c98650fb329792daeb686c495a2 \
             106beb4775b0240a24022ae47918343ced04dac0e549c8a777d683add35f08adef4944006b3c0b40b2cf1 \
             c47849f4cc087cdf4400ce807f2e0293abd2e879d8cadf1c2fca6171527f814be19e976b5a2ac97580b92 \
             f3",
        ),
        valid: false,
    },
    Vector {
        name: "PSS without a salt",
        padding: Padding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             4c248676c244f57700e2d8afb4575829dda3e079a4d3fa4ad71b8d4d086b4990c8806b8177f36005901a8 \
             f41b897f37a1435b3b1593355dc37dbda9c360c7d32953ade74ae94db8a4be8371a17e9f7814d624e2fdd \
             b51bb4ea9b4518e6e9c1fd4183c47ce9be08d0c28849d8b13380974d6d44f95b09196a823c50d6c82a7a3 \
             a9067950a9005129fc0b0f9ed6c83ff0ae831aad805bfaaf4c2d85e2c7ee067a8d3c810a38bd3945097f1 \
             0be2bd46e111db6fe0da18ea1706b724990f661e6bdaff83ca73be36dd8176980da4cdd60ddb38598cd8d \
             01314b43a1d1f7d38897aef8afb1760705e629aa74b09189e7c5301e0cbfb1f6b4d799f570767236a1f3a \
             bb",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with the longest salt",
        padding: Padding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             46c8e944d238d0615d8a24008b0df9878860107fafa83b4dfb8f6dfb48f46a0a8c0cbf3582dc07b0ee7f7 \
             1312f3b3a7c123ec2f1c3068049d07e4ff129f25bb0cf7418720ee1e08e1b8a391be8f11f7f8c2d529412 \
             7ef3b0648d727028f6438cd03647b455c103966b97577461c39b1f2c4f9c13edf818ed942287496111136 \
             d32974f657b8d023a01c599c44f59052f5bcc7e8f5d8396896bb0e7b7ee53b54c8864b3ac766484b28807 \
             ec58131d7a62e8d84ce8aa772579aba1305fe9b4da699237907a7e4e277f7d3dd9a0ac9d27295c1308bc1 \
             a545d908769e8924cab9f32c6c91478e5c19c8855ed9174d2495b847b555c5f6c38831f5091ff2678ab38 \
             59",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with MGF1 and SHA-1",
        padding: Padding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             1cb75c5eeccbeda46e52c6101169afc73cda7d7a947c44333f94d011b51d303fd5494b493c916a2d7a0f8 \
             7d3345ce12df14892897f34e8aacebbf3c248e01e4da7ff5681162bb6b1bcc8f5746809be583159ed5844 \
             a6be2c813dba403b2d45ab44d0c3a31a3033dea218872d50b6d02799beaac5752fa1bbfdb0687d4fe590a \
             46a120a8aa159496c3ae045596ef7b12c6ff8872def2274bd2488ff3d0502bf614d61c1ee4d9ae37ccb99 \
             de9ce2cd16646ecc5ff5c7ffb32e20f7599fa2e8da4aefcefe08b4a97bf71c9afc11284b3cf86ef698726 \
             0edc3500f111652738c47ef88a674222b5ac1ce769066cfea9aa6d902d92757e0a8dd64493b3d01fd4048 \
             a1",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with a block of zeros",
        padding: Padding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             a279994d157385324c54257717078fd5bead49827d25337819731b144c7ad7761326452f0bca2f0e5bab2 \
             ff294e410e5e4fb12863cb50f65236ef91bf569ca0dbc4227094d628c176be555677766595b340b27fe71 \
             9a918cf702018b88dc44dec51a3949958475f48d1625120b1168eeace1b2ca387c99b3ad4431b5304d523 \
             63aff455f2ed004e376b2041a090839c5f7b148362a793c59b4a008a8c345c2705aaeeaae2ec11637621d \
             25daff98b31f5e9c9f5f6f3449d2b0ea73ce7e861840066037d52770d66474d07e7f824798705bdb178e8 \
             da319cd40b0fcfac975f225f96f7a8bb0526f289da6456954bc87ce213eb8dd93ba5f87cbd3db3e15c06f \
             e9",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with a block of ones",
        padding: Padding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             77035d7e2a652b625ed919d02189213231d76e6871f518be20d5fc473ad170816f003b7242752b982921e \
             7820a63f0655066dc56ac97eedf1a7aea06768923cb74e30f7b67638b1ab2f081251033d9a24ed00f948d \
             f4e2cfc73eaf095dff18f83f23e859e9ebce0f1db381382a9fad4a232fe1e9d75cfeb48d4d0e284d96412 \
             7c4eeebffef69a0f7dcb664818a413816c07b5d86ff6941b0c49fdcab6552a14f24a2b367c7c7d05f709d \
             19a7d8c7e8f4df00ed5c8d8b6015251c562c19fb67e7c0c24a2fec99f7dc0a924c503c9b37593b88c5107 \
             a0335011ddb07599a87a383cc20cbbf8e91c0c9bd749c962eff22f35a7c1d16948d0f9cb9295162a42b88 \
             cb",
        ),
        valid: false,
    },
];
