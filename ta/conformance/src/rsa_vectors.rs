//! RSA signatures and forgeries over one digest; written by make_rsa_vectors.py.

use otrp_engine::platform::RsaPadding;

/// A signature and what a check must say of it.
pub struct Vector {
    /// What it is.
    pub name: &'static str,
    /// The padding to check.
    pub padding: RsaPadding,
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
     d867c0a1033121775c40de027fc42b8aba39c82d03d6478f764edd992e9e2257389ad30faf7cab6bf892892833f8b \
     d7343dbc021d7154b26f9ef31afcb1626c8e19cb434cda01027e1bbac323b95c82ecc64dc3da1a95eb77610f6a8ff \
     340ca0cd195ca36f0d8710dae0adf946888534ef43929239d9526d87b80790041573264bd7595c82ee4badf9399e1 \
     79903f90abd3698e530fcecad5659827eff868fe6daefed29521f009beadef906c3c0a41abd6a5ac5ef110e9524f0 \
     bdbfcd3d988b24b285e4e6cf1510f8573d8b34177f43bdd516b613aeb48f7244af49ca38ba83af2c7b5e781b954ad \
     834f0ad53fd8923a920201a04f615707a3104008b228963",
);

const MODULUS_3072: &[u8] = &unhex::<384>(
    "\
     ed4f4b4e186edc6dfbe75dcddf9ed07bb0b5db6d67874540b55e5fe2c0e54ed3d5a12f3303a07c3864676fafb7325 \
     caf552537de3785f38b2d45be7fe389ef750bac757e628c5ed9862cdf1592cdc4e69c9c0235a2636ce5ae888502ac \
     35f04e6f65ebcd206d6276bf662cc7855b05da3d66139184b1a0b9a4e1c79ad8ff21994c589e830e6eb6c0db43066 \
     b62be5bcca4172bcfabb6904188a163fa7b0919f49ee57c7cbcb92d2d6dd6de8fd3cde056fd4ba3fa8ae312b15eac \
     209f54aaada6d7f8fc492e8946d8fb20fa2ee37d43d64dbb8be781871e6cadb4a7077d88f03ccad134a9785549708 \
     1b118635b7f422a4642c9295379734884cb56b40d5b69d7d52e0845695ad3ed064184db8809bfdbf3d7eed8089129 \
     c0a656a3a9a8dc039b1998ab13415db1d0017bdf1bf02bc3d0ca6adeb4f25c8353b3f65a49bef6685dd0118a53871 \
     1875131db4c4276131f9e1667b9bf0effaed3e27c8d66e5ff0f4879b54b8505b211eb0f4af14651cf271768a342fb \
     526c0e7cc8307da60b7da685",
);

const MODULUS_4096: &[u8] = &unhex::<512>(
    "\
     aa12854e2026ee00d76dc4d1f9aa5e4a2c784b2a8964f2ae53616da28bc5c01660324a906d7ccb8c1d6ed91126506 \
     737bcef161d89b36ab309b6454a5073038202dde33fed3cc6fdb8967acbc81a3f802190cea7fec4dda33e90c8d533 \
     7365e372776f3c615f0b6d4911c7de5c82e052e4816f309dd211ff3fc69e023d378d335b79dba75034875b5b944b8 \
     a9f45a5c3cc46dd3aa7e5a52c938cfb00b1fa02a78bd4bec213ce5c466c1d295bb0d10fe9de2ba977981dd340060e \
     a2f7dadf45dd884bf91585d55a5b8fee928e9e3d4f396c7b7602eee4a239b179a49309108eefe7752a0576cd5e6b5 \
     355389f9693ad6c7e2361384b911cccb06d692b512900d7700bc2da070391ed3c02d94412e5726dbdc33cf2897e56 \
     0301dc972e933d7c22ff431b917732bd5665ef8184363d73990c51189a491e3c6a2b31f1a8c418343e1d276275e7b \
     1672c8f8a659061f4aad2088fd31a6cc231967861efefc115d811c7bb461102ee031aeca7d1c83ab53b0fbe7548ba \
     2479c7ff9f0693c00905aeb893b3075db0f4234682f430473bc32f9615e36bf9313a6e4e1b586dfcd014a96d0918c \
     38b03e3c7796c6a08bf313d3462a372977422a3fe97aaa4333634255eb2a97e1da07b98b9c2a269a0f1aff666714c \
     6c9eda91e40932c35c7bf3f731125e92463d4a3673ea144485f4ac6ddb5124ba86dd6c47896f634df27c351371f20 \
     5",
);

const MODULUS_2049: &[u8] = &unhex::<257>(
    "\
     016a06078edb8f9b513e8b3c4cb8912e15366f05007fe64e9441e5db4a8a53d5a67c3e82d2bd07ff0cfc9ec05e409 \
     fd87e9a4bd45bd144dde928936d2c7aeeadbd50d27d3a29fe3da29ecbdeb531d2570bcef0e761b35d7667af16a270 \
     98183684c9d73e30cf5df0f55430ffe44ed2089e117acd33bd1f183e00f785faed95124250f861f7b139bc2e86226 \
     022815bfffe6ec6de348d774fbe81ad114882764c55c41d193c79896475344bbdae2695de01cb18294a4ae1007fc1 \
     cbc6eecc19c32a2004e451617643592a085cd29676c0d59a70cca59e01e69025d2c6b8bf58e1174bdbb3ad11fa439 \
     c9d18084d410c0b271d1a100d1b40b169d3f643cffd3b1083",
);

const MODULUS_THREE: &[u8] = &unhex::<256>(
    "\
     ccd21754d59f18308def7ba9faa144f6fdbdcaa8535b681d258fba7e2dd566de291b2084588ebf4d89324e51f6258 \
     cb9cb194ccdf7bc4afd230a0aa7597281925498f588fa39b6ca49299f5d86d01ffd199276c0bdc4a2bbe85f425af9 \
     444295a1bd6eb614ec1b505f78e193286d04e8fbcf97dc48657f86bdb6512f6ea2fb13f35e4122f14d7b49913f9da \
     30dcc208ba61d5f68f21810ffc352a65d4cd8e7ea3ef9da9e4cb66372148710bf1c1a6beb0573c7d519c6dc555c5b \
     903b74962f7d672d1475574fb100562a6097fde68886c00d22f130aa5db29b681d35254547d4389f5a2df910e66a8 \
     c7d95ae2b0650cb837910fc636bbccf61f5502a5d720945",
);

/// Every vector.
pub const VECTORS: &[Vector] = &[
    Vector {
        name: "PKCS1 with 2048 bits",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             967a99214daa5fc4e31d6c3415f07d5ac7b7692530f402d8a44d36103228398a5ea0b3ed1201b388976d7 \
             d9718e9f51fe3d32b018934417c3b9ca74d4e4cd889242ea23a51ce92d85492f66177140fde3645da8cd8 \
             bb087675a95f9f9fc5ca1ccd881a7ae48477cbb823d1df1b742804089f027c2d7a2ba33bc11b16cf9b5b5 \
             4e4e43bf71fb1319dcd45ce37c1badb63bca7585d7cf45daa049287eed0ad4cf936f0ae77c1ba690a7c87 \
             757021a2026eeac488bd2df11b7fcb6016daf1b1423e5d3bc9b332079cd0acf7bce2dfd48b29a3227cb78 \
             9c22c1d4146f55b4aad624ef1757d4bdfced396da2bb066b760c9b0ce83d88cab81abb4ee8156009588ae \
             0c",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with 2048 bits",
        padding: RsaPadding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             28bdfdcaa041985258db277b1a7517615c2b06914e44fe5098ad2f74af4df7b417e53f8356197e73eedf8 \
             e7398a419d65f21148775b362678d583821df1f37cd37fe148855a5ec9de58cc8d1fef9ecd38e964bcee9 \
             5bba88b4b6a5201dd330aea84de86f4c0f347d8412760611c6772a1b83401677d2dc7b27eaa803de176d8 \
             9ca4305c4b441468ea2e46fd0e3cf7427c90e8c33a6e7e8c04972a8ee68ce0b2bf61a3a59ba25ea3cd03b \
             40cc8abe42cddb9b0905d645f102d7fd35cd532685912e4c527675fc9cd5a3f8caf7c82b8c7703d281eb2 \
             19d8baf11fa25bc476c22f5dfb3046c7ca5e98b0289bb4e8cf30498caeefeece9d871b33dc96bed9aa375 \
             45",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 with 2049 bits",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2049,
        exponent: &[1, 0, 1],
        signature: &unhex::<257>(
            "\
             00c9a788c6573e309aa87f77bd7b9402fc2beee1e19556e26bf17ece9795317f0879ab70fc464f65d1ca0 \
             a55bc7c805dfa58f92db7bf8a80c65c717fbf7d2fc4f3b249c306556d6cae536be02d05eabdf590fb4c24 \
             5acb78d0470f652a42fb76349ef6e731c42b51b4523e94ac03f645f488ff1fe7185bf8e87bdccb1231389 \
             ad0d7a175a98949d8bf67f74119ef65bb1a643f766c35b3f7477cab28079d82e4ea867b5dcd33198e67ef \
             995a6d91dcf91c5b54e14d8976b1cb9a6043e606d0708d91813c69b97d912c4a75553f0e2f837b2ab80dd \
             695265b0afa0a4218ebd9a80cc169881582f9e59351652e1846f1174b1388ae022df163fa9910dae7cca2 \
             2c85",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with 2049 bits",
        padding: RsaPadding::Pss,
        modulus: MODULUS_2049,
        exponent: &[1, 0, 1],
        signature: &unhex::<257>(
            "\
             000bc8e4a96adb0577e7d12b1e9a7b02508bce6225163521aa102b5ceaccf07c0a98d66c1112fc9d0611d \
             0940c5064042ec33a6bd8522226b4e5751976a77c0d8bd354481cbcaf73c450ac9226beabf87077d9a976 \
             fa14b66180527f437b6035b4e840644c8c69c80eff9afa4e02cc86448c29f949589f70d3476a05a15fede \
             c4c9d5871c46b82aa9360fbb28269fe12ac379ee5b833a468b2bc1d919203b1b64ff3c32266e8f5df57aa \
             a36f0dab97cbe82bd0855cbab0e2c78be481be70097059251700ab534a55ae926447dda637fcb8bf8b6ff \
             3ac088dcde25d13a6c336160d2f841ce8e95630d8ce810c6e28b68eab62703d4af9c1e756b927a14b468d \
             6f1b",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 with 3072 bits",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_3072,
        exponent: &[1, 0, 1],
        signature: &unhex::<384>(
            "\
             15a4fffe8d1475ebbe8dace164fd45aeb6a557e025954d7dd92011b44bd20b8fbfbe7a5539c7351bdfb62 \
             7e101702294f1c2e9446c6778bcb94be6a95698c4c186f5ae228aae1f51b318bc74215e94f17b6481dd06 \
             74165c09b1e9306726bdea0c6084ef1280516be8bed69d19e671ae306df61f3b00bd140ba823b77a49721 \
             0c8f6e1be5419a972e85251209e8d098cdb2453b7fae50b6a91abae1c071ed08c73ef98c092870650c7f8 \
             413694aab92bd8bb9b0c44cfc23466ba2bc5c2766ba4712e785d3efdab750d2449a4d783f2057e7e623c9 \
             d0bd7722bf3deaafa4c97751e67e43eac79a93897dbc5216fc8fb61685ce5045dd92d8952bb43a8c95ebc \
             9b50f88b745397b0cf0ec44b7417d03d236bee77029ebfbb02a680a93a0592537f1db6b45b42ad935124c \
             ff8c204b512e9e79bb105efebccd4eaeaa77ea93c2963ffe5bc6eefd68dfd8842a728938f645411ca00d4 \
             18e27a9899694b82edf809d5c6bcb0e64dfc15d9809949da0d93ee9308256b7bc0b3a568d141c11883911 \
             6c8",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with 3072 bits",
        padding: RsaPadding::Pss,
        modulus: MODULUS_3072,
        exponent: &[1, 0, 1],
        signature: &unhex::<384>(
            "\
             0cc41c1ffd1b363ff1d89d08845f2d8a17ee7e7becd9c087a874f781837eb3b4aaed4116900dab2adc519 \
             70c4d8d29e90de4cadff1f474817abed3d2835f1de3f597935e734ba84c470a2dfec4ae7d57276608a03f \
             17095904ba9e113cc67b504661d71536027011a3c38a4b14dac67e40b7188422eae65804cbbb8469cccd4 \
             d9f55e8e150a43dd383eff966f3eec77e9133f8c4ed2b9788bc3e213ae2462046937327f475073496b4c0 \
             f901d1f51947a223d46d19935293cdd89181f69bd18e1f6e72c167a11b619a36881149387b636505826d8 \
             6b891ad8c36b8e8c8fe69500591fe5ef2c7529d74445439d887a04c30377af3fc5f4b9f99add5766ee92f \
             19b75a40c4862adf0ef4830d8004723bad30ff03de2070d20a0c59995be939a84b6661c9899e2f162e559 \
             63d508cf50b3bd5740cc55989ed0831934081fd12bf42111bc4feebad857dc5821d7cf23a75de55869df3 \
             d3936399a3a6c84393c6054c2eb1999248f908092b90e7c31bb9504fef8f83c4fce044b08e168d31fbf64 \
             1f2",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 with 4096 bits",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_4096,
        exponent: &[1, 0, 1],
        signature: &unhex::<512>(
            "\
             0a169c47ff3424fc9c46341fa6ed63cd7f36feb6d0d5291caaf0479469101ac40f769e86b5dfbc2fcde9b \
             f97b1d54a664c77efd097928654865bee3af40a1b77e68d6debc48831e0fa38899ade3f518ec12ad7ee34 \
             78dc4d7286bde44fa92629799cdab19e6562d77fdb053d66d978c237d24bc295da81f4b775ec39add9051 \
             3df503e0ec23375b02fa1a2e6ba4ee279a83599a723128cb2c32b9b898e46497e3d43b51909b086a77b1a \
             0162c272c659f41989d23ac1bee713c9dc7bb44d5c1436845707ce167ef4798743dba786dbd87c64b80a4 \
             0222c33ca9f7ed316a9197aa0571a63a5c8352df7e810dc64655fbdd8de8d76215e915fa9748b13c3ef54 \
             274eab5ab0613b2c43ba3cbfd1e21956cf859ecd89b3811d88e35bb6d602f0e9690b77a5cab71277c29d5 \
             975d8e7ba0ef3a5b018de3382f4426abcc41e7597c102e00f988438207656e02a198678ee5dbe755f10fa \
             fe834e0eea13168699acc8438c64fc6749028a38d68325e80de10e20b34825a9dd317aa75ab686c678811 \
             8398b14bc7b2730449d0afda4147a75d61052060e72728de0df5184fc705980079ad88aa5961746f1a0e0 \
             08b5dc5e9bac521c1b97d2f11a93e2e56ee53bf258be82db89b065f17bb84fe7734def46b4a316536cd0c \
             cdcb12b4567a87dab0c0f0d335ef0f4d73faa9edd45cc008a5ccc86f7b6ab56c77313ea9be2970ac793f9 \
             d282",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with 4096 bits",
        padding: RsaPadding::Pss,
        modulus: MODULUS_4096,
        exponent: &[1, 0, 1],
        signature: &unhex::<512>(
            "\
             25caebca62827ab499bd438e45e28e886887c4869965b0e7089352d91172fc268c4a415de9926ac697eaf \
             bf7fe8cd2ab6241f2cb7d9eb2be1b21c0c2e3eb844bcacafd7f9ad748daf8c1492882532c34ebd6540aba \
             fe72ad98cbfdfade353fa69564e07636f73c93f274523d205e53b205795cb8d70465db5130693b78a59f9 \
             36bf6bad0c52a55b3c726f91e2b31493f0e145324049b5bb30d7fa37cd6df658849676a3569b97c4eab2c \
             448697a991034356f3313234e675234755a3c01e2897ba711c89c5975895af5eb49c4988da86b9a5c1bd9 \
             8db142ecc7fb5af18f57e866bd163f988e57620bb77a44350508f4223beda525eeeae6d420c110b5112f4 \
             95c7d5b826a89d281cd1c318da4621a893a029c4046fd5e33aaf5bb5d77987c267c0fa4c06fc706ef31e7 \
             f8e59066825961aaef1cc383556efc3985b721d29ab7571fdbeda04f31b02fab3e0c8814d4650cc2b43a4 \
             12ea179d03c632ba15f298ccc095d4739d96290bfe2fd1b2379c3b125ae9b89fa473428322decaa24b647 \
             08d17050ce97d803a12b53b70c993534043410ef8b53b12850c4406549145124afd0b85b5632f4ee9dfee \
             d76336b0e24659ba53d58349191ee80c2ea7342a35451c7f7a67f62a60078bc9cc2c13ac08f45fd7d06a0 \
             22d08fa1ea90796aa06b9c14574adeffa32607115694050e88834ca393421a0ef68a9cc501d5d873951af \
             60c1",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 with exponent 3",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_THREE,
        exponent: &[3],
        signature: &unhex::<256>(
            "\
             821c456418c256cbc36f1a8d5c5b2732d5f6631c1d587af4a62a0295c3b81fce3eaaa3c31c4873d1e0717 \
             56564dd655cbe41f83c198ce6d0028207b89cb0c5792abce3d8dfb1e2676430231d1124935a65c1d388f5 \
             594395f8d014308842fed3dfee47bf0782e317743aaf5cf2cb32e1a9a0d06ab458802dd92871ee9010d2e \
             523357b769a3d3ee24bf5315489260e4d1c716e17c7b2b16a25cf69c3ab1b06c2f6da31273a628562676f \
             83b2a03656c867d06e77735196f3fe1df8c5566586567a22a436d5ee8a07d3ad6752a8c12a0137a5b5872 \
             b4b992af9941da7dbf606109ef5f8ae3542e7ee59b77a25ad4fb64f768c59b7c5bd7be24f379e1ef6d32e \
             24",
        ),
        valid: true,
    },
    Vector {
        name: "PSS with exponent 3",
        padding: RsaPadding::Pss,
        modulus: MODULUS_THREE,
        exponent: &[3],
        signature: &unhex::<256>(
            "\
             8433c1a498967cc86cc7dfaa4b12bee9654b135a9b4de16bb128cb8b97025380f7f9dacd57fc1cd36b442 \
             5f70810c944b8a52b4968bb1a6bdca0d22df65f0f8b2d4e7aeba0c50a920d5a95401485593039dbc350b0 \
             604a5a5d11e98f622a3cfa16a988306b40d56fe4f36c1798e2f3219589132a11a1e80b073b8b52d16f3f9 \
             f6f5da1e014ec2ee012fc58360dacca089150380e01b577c0705a227b156006a03c2b79e9d86479c3bfd0 \
             f74dee87c0b43db967454a040e447049036e7083abbcc870b309a46dc8e848791f51d854a5a477e57a1fd \
             3d65ec778a269a8c7b6b4a03904c9f3e3c3d77d235468f1454b861cbc0483e6292375ea54dc4d0c76031e \
             44",
        ),
        valid: true,
    },
    Vector {
        name: "PKCS1 without the NULL",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             5e72d774e7f885e346232673009a6b316501d43e5bd54c36e12fc1d981f6607c4fd91659b871f3317f0ab \
             619e644918e190bf6c1e15008ea6fe9bfafad62d6df8a15b374ef359fffc11e383c1aed24ae725f3ac304 \
             4f5f9698e1c2652db2384084b2a7e49f179dde17cfe5b5eaf3415ae14f088c408f5895455b0ee761eb834 \
             b91300f27d9b00e745f9cb093b556dacbab5c23a042f844228180c47815633e3cddfc41731548b7e32172 \
             00aafcbea3f180bbaa786e9a866aa9c9bb8bdd0b37828863882143e94cc39762165b0915a5ecc6df91329 \
             af0c727ffb4ae68636d0dc4bfda45c0798545b7729ed42d0a80c0e43707f44cae35a06791503797593963 \
             98",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with SHA-1",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             88b407da5fc2133a2348d99bffdd9a0b07bcefa992213c8a61d0b5e6ba7c4109b6571e14cd95595d9d1dd \
             e7eba69d4981860b92009f641f3ae0db16bb171475cb7f303df109d13a69036ed73552b599494bdb1add1 \
             d65ab1268d1cf55e5c1eee05e14e584b5d1f2ef8f14e3569cdd783c85181bb0013b468cb5cb2f3b964ded \
             a39f7669c297a9ea50b2f322ed9b14062d63b5a5ac6bf4218419b92f116df609c02e1dcf5dfbb8b31c9e3 \
             325063858193dea39897a774a24573b594ec03eee2505f292dafb1dd201f0bdb9aece2e50085615a8f72a \
             9a42c7927731a5e097b62488f0227187f8bfcf1dfa76475cadf9ac48c0d4e66e3d263db1d3fb996219d8d \
             57",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with an object identifier of 33 arcs",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             919a4fa8d851191558bac2ef7c480be1bdd91b1f6456cf0fec22d77ac69b6d74845d46643d10d32414c17 \
             eaa43117c80f1f32875ccdccaece964886716c33fe6edef10d0346273232f85dcce90cb04d8d6725d08c9 \
             0a198c78b2453412fdc624004c96c8ff153ae0c5d69734ad7cdb506619684cd7a32f185e337e3d3a36261 \
             9a44e88ba8619810fcbdfb3c5ca89fb4b5b6fd7d30527fa6f6c6d27cd280594cd7427e4a44afe8d9b2c28 \
             6211398210b578e996eb600d2cc470a2d49e35dba8deee183404de7bdbcd303b673a70c1d28c20689ebdd \
             15e157284efebf443cd0fe0e7b6ee96f56f05bcd853670c09bd9598740fbb6bfa55206a20a8a6f4a5044a \
             2e",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with a digest of 128 octets",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             afc39cb84a6e16ebdccd71ed727f5bafc1b9c89fcb5c2eaa3dc4cf2fcffaf38a4aa47437143d1c494a032 \
             eb71a25769fd231633c6c9fc7bc332ad0c1c2f4d88bf403bebc4b75ac1670592e36408dd9ab9a8b8b6233 \
             9c9d33ff0cbac487a081f3ca12a3a3173c5a3fe6da0ce75c8307134c7c2858baae2c52017933be660a4cc \
             399e943e5115e0cfdadd0df43e0534992245ceb54c9c4c5488a2111f576f520a4709487cfa17a0a1b5b2f \
             8eeed7e7c08ff3f3404827a131d32b7d158a9cb100a81fef9d46631acd91f75a1f1cac36db9dc3d8b9e51 \
             252af39ee1aa4e954e652c1ea5d6e68031ce9e89cbe0aa1abce1899e0002889269e1f4797012e665889b4 \
             e7",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with rubbish for DigestInfo",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             5ba477181fde77c4722ab427aa26ccaec2b2b089b9bda9dc20a73c1b95b692a20bd4b6a37f0ecefd03a72 \
             e848c95f4f2356e931351eeedc0885fb9140c1609552a9c491f9cbeca03b9559ae6f7ee1a6e1bff64abb3 \
             d8e96a13ad78b1330e1c374c3f1277e0a4656c80d60eee81b38e5fcbc41f639ad5e16ecf043a8c3e2ec4a \
             e0b7d44e049f1deecd46a9b7c819ccec1ab1cc62794fa71a109053ecb18e6733235859138585fe0e19789 \
             caa8e6eb81b547c4e93f2e9a3d43acac9d11a8540dd1d669c2f5a1b2e28c54de088f7f6ffba005a2213e1 \
             1a8c1146c54d137735e133647fa72e868a3e331dfbaee4a384085efc6130591bf6ebb2c9bb1558a935fb4 \
             cc",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with nothing for DigestInfo",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             9308bb6b1f5d3cdf00102ced629d7022827694fda5e83bc5c08e64d023f88b83da369f48c914575778814 \
             db028cd4a970cca4fcd6e3662b2a476e44cb5ba0a8429a88cefac6ff292fa9ceb67b6e150362921c79bdc \
             a3c60dd8bcbfbc9fb62caadcd82b2ec5910c45602709bcae270cfc458402a0ff51c24aaea3e107c691bb4 \
             9b0d22b8916200e9e8f5a281b018ba8cc875490fe043d04a72f46456bda6a51f930f501117cf309d572aa \
             f43f841878382b780b584a92bf4fc45feae2ea27b59b45cf91a49c5ad7a5d5204b4c2fed492b5efdfed61 \
             54760ecb4aed3eeb37473a09a6435f917a1d8762001e404292c97137764c2a2e18e204e26d4cc62fb2abd \
             c1",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with the digest alone",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             17a6a249705667a2430e43ed05a05ade6595b02f41cf8d61d7cd53cf4ae875179e43be190fdc58e9ce092 \
             787d915dbd39aaea11c33bd4530a00644a7ab7d3f5d47f0df3679f802b3f9e81fe59bed69839bb723c15d \
             1beaff3260e1306e43e5b05482651e076aeb74a04a8b181ce75c4526415dad6d9eb68e8f357517df749bb \
             998ac7bc2cabdc974c3efa51ca022d8a02b6bf8590b44387d432e0aaaabce7f9b901df6215c21c094c5c4 \
             06f16442437f9d7b2e6e4adef3c80130956ed715b77605a8157970d7859b4977af0dc54e72d98cf30cd0a \
             9040e07b01a0660b014b784ab9af05bf75673a8e7a997aca549284d70833cace7f2a36b452d11aa43149c \
             7d",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with octets behind the digest",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             8d013138f32e6e38308acf2bb5806ed870df8a287ed27ff0b2f555725c28e6a6a21eb49fb81b72d612dc5 \
             29c9e06a9df3a1d92b5c7fefb62992bd5f13fc2e665de0b05de8528097d92aaff3cfa568d5c9e820d14f9 \
             a772b17d57ce5496c2ee6374f6da4ea2880fd3680f8e6b326a39d0fc10aec2a21dc5707fa16db29165f8c \
             25c459f7dd3e27a85e77871380f124c50f70a7631bb8642b877394566b9671c59b4b89630b65f516b9d32 \
             b610d69cdae4a41a4501c66302ad8d7d86674dc4e7961706ac0079d077855897624cc5d468046209d3254 \
             d1b42e3aa1327f3507c46d1fb794afd80757225ddd5623996dfdbf927cae0860ca8b6d4831aef55678ba2 \
             37",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with block type 2",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             d541c98913e458a0102a77f5de07d3de870b463561fb292088761d08d4010a9411b111809bb6adbbe6554 \
             1b6c889e0cba49c7243d9d385d1e2ba734adf97224073c7b34ebea17a77ed6ded33400ce67ad20a75998c \
             1edb60b25d860a01855fd95ad7380d81a49d60fc6e1d8e3b41b1b122a77da78db2d3533a8caa910a8bc90 \
             b82a6f183751740b5eb129e15d82a87f5b229cf9337566d038356242f3ab4dd0593b991fa7e90579de254 \
             aa35c6acffd76115e5b76055618ac017f9d66d512ffa8b2e5c50aed41182d23ade8629251e59c524b712e \
             b8426402b81a7ef0278df179214450cf1deb2cbf6117db48b32e05699d4fb2edd0ef8715c30a4f878fc74 \
             69",
        ),
        valid: false,
    },
    Vector {
        name: "PKCS1 with a zero in the padding",
        padding: RsaPadding::Pkcs1,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             483185dba7562d5e4a9d9ec23f131d1203df163a80da030efabddb4d305a8dcda0523968fe1e77ec19eda \
             e927144f3310e5b1eb75d14258e625e8c4c3a10b2f20ef0d81246164cc447ec9b517908a4f278e251182c \
             90c39d179f79d113b5b052a541b06c3955906547f2c0fe9ce90a7520f74f76415b636f2038e19788cdca3 \
             93181c806cd2907ce261da7d5adafb09bb41aa6214af30d120353fa0a398c387fb39c7f535f405784d3e8 \
             cc7ebbfd0fa5b0e8c2882532cec44e58edce10f70ffb6e733c2652bf1e22f691ab09e2d934687c6beaa54 \
             dc61717defde6f0896b1e2a269261d4fa8095bfa2c71e9d7b272d1d55417b4d946a78bda9da7e634fa0dd \
             09",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with a salt of 20 octets",
        padding: RsaPadding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             b6903df6e890ad2ad2289008478c2e39bc4dbed420c50766b30232e0cf7b75b83b01a8d633318ac51d7b3 \
             0caae39acf3671a278dffc793dd36b5101365ca9621d3aa6533e2fb37e348182fb674ef517f8435dd5c0e \
             b524876a0d3ec46aa3f7b3677af768092ecd4b5527364642aabf3455ef9804c14840b12dadedc23744d57 \
             dac1b9d8bf8d37184e2c3255c39177ff3edd0f7410416d6b4afd7081fc5b1ecf2d082c8d54cca9fa4c027 \
             5e48bc19ca2aadf971b49fbd0491c6ffc16192876fce755cfc66d633a287d4fae2bda5426df8319c9b88b \
             5d8918d8303048577ec8fd8ee1e3a1669a95d0747ab2936a381370d3d02362fedb878414dfc036956396d \
             73",
        ),
        valid: false,
    },
    Vector {
        name: "PSS without a salt",
        padding: RsaPadding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             3e01f9abd05eaa2a947b27c82e6c6dc1a093d9f474c32fb66cc5fffdb483c5865579f09fc3cf18666604a \
             85756455c78d3fecf8a54ef5e2dab213a5511f768511a3496463069a891dbd83c1725e9a2f56906e3247f \
             b3e799c7f86a836546225be2f00563121f2ece0d2124d5e39b6cfedc69b885bcf3afcbf03a828aea9e61f \
             6a13a015dfaa7bcb720e3c6cdeb48f442218b4f15b78dec0e5d77f1baf734ac9876806d40aba64e5b48e8 \
             fccaed69358abc7098861f77491f65dd2cdb02fe314eac4fcc7620d6aa32d98d565e20074e8079f89e13a \
             16000db360f6edc1aa988020fd8850f2184ec8591ffa793c46d8800e0d08b28cd44435c0db0d97716a098 \
             9d",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with the longest salt",
        padding: RsaPadding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             27ca519c8ec0820a6819a07c6171fac2cb0019b37379897e0e0f2da48db80b65acd259b3bb6d1c6027171 \
             cfaf5a73f1ae4195ad0b4fdf2d0df782d1366ebadfc15a44fe2344dab8ea8736c891ccf5add5752ba9272 \
             b436078c877a7036a71f35dde29583674a788cfd93e5232d8281ea6800bd286ca25d4eda71179d3920b05 \
             1e0db710027776c90e26d257c6bca8e2de34f563ff22ae2e147391c6c49bd3d94a9c51d1c2b0164044b2e \
             78dd80fce75341cbe0c0e973d6905c1c97a80b9d1bd678053ef8300fb703e57f6b83f46d0d0ac81052bcb \
             bb0a5ef17bfbf3408ac6eef69154fd2e72d1f1a275f07cf4dd60237f44b40665662bfffed544b75f34504 \
             63",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with MGF1 and SHA-1",
        padding: RsaPadding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             5ff2d0e06dd79868b53522f9643363d989be505ab958bf56707d51404a773e4bdc98ead5ce80a82b77f84 \
             6e3f10734d7eb642eaa4c02724fac5e4ca6ce65d3b60a623deb4b4164e5445107bf9f11cc75f221f71dca \
             02db83afe1f3a2530069204d080bafb5c187f8d410ebcfa01fb7062f7f112d7114c25334005bbe874ffa4 \
             cb28dd19cd63027bcac4e2ef74fe73c217aa9c1e13206cbe84c0491de78b2eb47bd3df45f53f5f8119d39 \
             b421a14f0cde7014f74aaf0f44a3f3790d69684e0e46e42fca1895706486b1cc3e99e990edce16ede479c \
             cb161de80a94a77215dbc19222b07bdaa91a77f1bf8ae5c1ce19dd4edc22fec5028e2e94d0a77b656472b \
             fa",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with a block of zeros",
        padding: RsaPadding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             33f0c4274bba4d1dafe481d69f26456e942a9eb674daf002db99e53d401f43ccd7fdc78bc1bb53a355766 \
             18219414a14d5ec99f0c8afca23e24c73a919cce77adbaae885610476eb713f55e4d23ad9a12ad11515a5 \
             1805bd17bd27a48edcf8df3e8cf05105af0759471434e59a0e085878f33e23a9f7252a09e4b96d16eb614 \
             ef255bb69fdce15ee8e95219c01959b2cedae989c8f458485ba880de46bc01a37116587c19e47bb2dab0c \
             b96c312a5542013f643154bcfdd07131507570dd82e148721a717c8feb221c3dda084cb1cdffd836d0c61 \
             838fdd25181bc4ff3e3cad21fb5ce9144b0658c20f57cc6f72546898a020750e73abe6fc10d9f5d385bff \
             cc",
        ),
        valid: false,
    },
    Vector {
        name: "PSS with a block of ones",
        padding: RsaPadding::Pss,
        modulus: MODULUS_2048,
        exponent: &[1, 0, 1],
        signature: &unhex::<256>(
            "\
             2786216f239b984e7885f0ba4a09e7ad2dd06512376a7edf66a66ca38045f3e121fc0d35f9f287ae75457 \
             dba51a3a93b97bf97d645e8884528929617131eb678863bb9880c3f9d68a2ad60ce8e445ecfcc3cf9fb3c \
             67964b5e6bc41c8679ec4fbb90109c1d56bcd22ed0bdb145d45849501e750c42cfd97c0ddc5b4c87b50c0 \
             029ab3b5f254541a5b4fc910251f4016c83e4201226d8b823dea7e943e22f778763c787dc2b699bb23939 \
             a3254161349aa56b14779f5f9e0eb23be2b4b04492f21aa3554eb56af139cc65d212bccee9276f1110727 \
             9a6153f1b61fd1106f891eb40e095d1e8cf4249fcc4de48ac80af76274042000449636f149a6e55d36de5 \
             cf",
        ),
        valid: false,
    },
];
