//! RFC 7520, section 5, and RFC 7516, appendix A: messages that others encrypted.
//!
//! Those whose key management is not the broker's are here too, for their content, with the content
//! key that the RFC gives. Key management has its own tests with the others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otrp_wire::Span;
use otrp_wire::json::{Malformed, Reader};
use otrp_wire::jwe::{Header, Jwe, WrappedKey};
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::content::{ContentAlgorithm, ContentKey};
use crate::crypto::Error;

/// An encrypted content; binary members in base64url.
pub(super) struct Message {
    /// Where it is from.
    pub section: &'static str,
    pub algorithm: ContentAlgorithm,
    pub key: &'static str,
    pub iv: &'static str,
    /// The protected header's text, and `aad` behind a full stop where there is one.
    pub aad: &'static str,
    pub ciphertext: &'static str,
    pub tag: &'static str,
    pub plaintext: Plaintext,
}

/// What a message says.
pub(super) enum Plaintext {
    Text(&'static str),
    /// In base64url.
    Octets(&'static str),
}

impl Message {
    /// The message of a section.
    pub(super) fn of(section: &str) -> &'static Self {
        MESSAGES.iter().find(|message| message.section == section).unwrap()
    }

    fn plaintext(&self) -> Vec<u8> {
        match self.plaintext {
            Plaintext::Text(text) => text.as_bytes().to_vec(),
            Plaintext::Octets(text) => octets(text),
        }
    }
}

/// Decodes base64url without the `alloc` feature, which the firmware must not have.
pub(super) fn octets(text: &str) -> Vec<u8> {
    let mut buffer = vec![0; text.len()];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// The text that most of the sections encrypt (RFC 7520, figure 72).
const TRUST: &str = "You can trust us to stick with you through thick and thin\u{2013}to the bitter \
    end. And you can trust us to keep any secret of yours\u{2013}closer than you keep it yourself. \
    But you cannot trust us to let you face trouble alone, and go off without a word. We are your \
    friends, Frodo.";
/// The JWK Set that section 5.3 encrypts (figure 95).
const KEY_SET: &str = concat!(
    r#"{"keys":[{"kty":"oct","kid":"77c7e2b8-6e13-45cf-8672-617b5b45243a","use":"enc","#,
    r#""alg":"A128GCM","k":"XctOhJAkA-pD9Lh7ZgW_2A"},{"kty":"oct","kid":"#,
    r#""81b20965-8332-43d9-a468-82160ad91ac8","use":"enc","alg":"A128KW","k":"#,
    r#""GZy6sIZ6wl9NJOKB-jnmVQ"},{"kty":"oct","kid":"18ec08e1-bfa9-4d95-b205-2b4dd1d4321d","#,
    r#""use":"enc","alg":"A256GCMKW","k":"qC57l_uxcm7Nm3K-ct4GFjx8tM1U8CZ0NLBvdQstiS8"}]}"#
);

/// Every encrypted message of the section, and those of RFC 7516 that are not elsewhere.
pub(super) const MESSAGES: [Message; 14] = [
    Message {
        section: "5.1",
        algorithm: ContentAlgorithm::A128CbcHs256,
        key: "3qyTVhIWt5juqZUCpfRqpvauwB956MEJL2Rt-8qXKSo",
        iv: "bbd5sTkYwhAIqfHsx8DayA",
        aad: "eyJhbGciOiJSU0ExXzUiLCJraWQiOiJmcm9kby5iYWdnaW5zQGhvYmJpdG9uLmV4YW1wbGUiLCJlbmMiOiJB\
            MTI4Q0JDLUhTMjU2In0",
        ciphertext: "0fys_TY_na7f8dwSfXLiYdHaA2DxUjD67ieF7fcVbIR62JhJvGZ4_FNVSiGc_raa0HnLQ6s1P2sv3Xzl1p1l\
            _o5wR_RsSzrS8Z-wnI3Jvo0mkpEEnlDmZvDu_k8OWzJv7eZVEqiWKdyVzFhPpiyQU28GLOpRc2VbVbK4dQKP\
            dNTjPPEmRqcaGeTWZVyeSUvf5k59yJZxRuSvWFf6KrNtmRdZ8R4mDOjHSrM_s8uwIFcqt4r5GX8TKaI0zT5C\
            bL5Qlw3sRc7u_hg0yKVOiRytEAEs3vZkcfLkP6nbXdC_PkMdNS-ohP78T2O6_7uInMGhFeX4ctHG7VelHGiT\
            93JfWDEQi5_V9UN1rhXNrYu-0fVMkZAKX3VWi7lzA6BP430m",
        tag: "kvKuFBXHe5mQr4lqgobAUg",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.2",
        algorithm: ContentAlgorithm::A256Gcm,
        key: "mYMfsggkTAm0TbvtlFh2hyoXnbEzJQjMxmgLN3d8xXA",
        iv: "-nBoKLH0YkLZPSI9",
        aad: "eyJhbGciOiJSU0EtT0FFUCIsImtpZCI6InNhbXdpc2UuZ2FtZ2VlQGhvYmJpdG9uLmV4YW1wbGUiLCJlbmMi\
            OiJBMjU2R0NNIn0",
        ciphertext: "o4k2cnGN8rSSw3IDo1YuySkqeS_t2m1GXklSgqBdpACm6UJuJowOHC5ytjqYgRL-I-soPlwqMUf4UgRWWeaO\
            GNw6vGW-xyM01lTYxrXfVzIIaRdhYtEMRBvBWbEwP7ua1DRfvaOjgZv6Ifa3brcAM64d8p5lhhNcizPersuh\
            w5f-pGYzseva-TUaL8iWnctc-sSwy7SQmRkfhDjwbz0fz6kFovEgj64X1I5s7E6GLp5fnbYGLa1QUiML7Cc2\
            GxgvI7zqWo0YIEc7aCflLG1-8BboVWFdZKLK9vNoycrYHumwzKluLWEbSVmaPpOslY2n525DxDfWaVFUfKQx\
            MF56vn4B9QMpWAbnypNimbM8zVOw",
        tag: "UCGiqJxhBI3IFVdPalHHvA",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.3",
        algorithm: ContentAlgorithm::A128CbcHs256,
        key: "uwsjJXaBK407Qaf0_zpcpmr1Cs0CC50hIUEyGNEt3m0",
        iv: "VBiCzVHNoLiR3F4V82uoTQ",
        aad: "eyJhbGciOiJQQkVTMi1IUzUxMitBMjU2S1ciLCJwMnMiOiI4UTFTemluYXNSM3hjaFl6NlpaY0hBIiwicDJj\
            Ijo4MTkyLCJjdHkiOiJqd2stc2V0K2pzb24iLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0",
        ciphertext: "23i-Tb1AV4n0WKVSSgcQrdg6GRqsUKxjruHXYsTHAJLZ2nsnGIX86vMXqIi6IRsfywCRFzLxEcZBRnTvG3nh\
            zPk0GDD7FMyXhUHpDjEYCNA_XOmzg8yZR9oyjo6lTF6si4q9FZ2EhzgFQCLO_6h5EVg3vR75_hkBsnuoqoM3\
            dwejXBtIodN84PeqMb6asmas_dpSsz7H10fC5ni9xIz424givB1YLldF6exVmL93R3fOoOJbmk2GBQZL_SEG\
            llv2cQsBgeprARsaQ7Bq99tT80coH8ItBjgV08AtzXFFsx9qKvC982KLKdPQMTlVJKkqtV4Ru5LEVpBZXBnZ\
            rtViSOgyg6AiuwaS-rCrcD_ePOGSuxvgtrokAKYPqmXUeRdjFJwafkYEkiuDCV9vWGAi1DH2xTafhJwcmywI\
            yzi4BqRpmdn_N-zl5tuJYyuvKhjKv6ihbsV_k1hJGPGAxJ6wUpmwC4PTQ2izEm0TuSE8oMKdTw8V3kobXZ77\
            ulMwDs4p",
        tag: "0HlwodAhOCILG5SQ2LQ9dg",
        plaintext: Plaintext::Text(KEY_SET),
    },
    Message {
        section: "5.4",
        algorithm: ContentAlgorithm::A128Gcm,
        key: "Nou2ueKlP70ZXDbq9UrRwg",
        iv: "mH-G2zVqgztUtnW_",
        aad: "eyJhbGciOiJFQ0RILUVTK0ExMjhLVyIsImtpZCI6InBlcmVncmluLnRvb2tAdHVja2Jvcm91Z2guZXhhbXBs\
            ZSIsImVwayI6eyJrdHkiOiJFQyIsImNydiI6IlAtMzg0IiwieCI6InVCbzRrSFB3Nmtiang1bDB4b3dyZF9v\
            WXpCbWF6LUdLRlp1NHhBRkZrYllpV2d1dEVLNml1RURzUTZ3TmROZzMiLCJ5Ijoic3AzcDVTR2haVkMyZmFY\
            dW1JLWU5SlUyTW84S3BvWXJGRHI1eVBOVnRXNFBnRXdaT3lRVEEtSmRhWTh0YjdFMCJ9LCJlbmMiOiJBMTI4\
            R0NNIn0",
        ciphertext: "tkZuOO9h95OgHJmkkrfLBisku8rGf6nzVxhRM3sVOhXgz5NJ76oID7lpnAi_cPWJRCjSpAaUZ5dOR3Spy7Qu\
            EkmKx8-3RCMhSYMzsXaEwDdXta9Mn5B7cCBoJKB0IgEnj_qfo1hIi-uEkUpOZ8aLTZGHfpl05jMwbKkTe2yK\
            3mjF6SBAsgicQDVCkcY9BLluzx1RmC3ORXaM0JaHPB93YcdSDGgpgBWMVrNU1ErkjcMqMoT_wtCex3w03XdL\
            kjXIuEr2hWgeP-nkUZTPU9EoGSPj6fAS-bSz87RCPrxZdj_iVyC6QWcqAu07WNhjzJEPc4jVntRJ6K53NgPQ\
            5p99l3Z408OUqj4ioYezbS6vTPlQ",
        tag: "WuGzxmcreYjpHGJoa17EBg",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.5",
        algorithm: ContentAlgorithm::A128CbcHs256,
        key: "hzHdlfQIAEehb8Hrd_mFRhKsKLEzPfshfXs9l6areCc",
        iv: "yc9N8v5sYyv3iGQT926IUg",
        aad: "eyJhbGciOiJFQ0RILUVTIiwia2lkIjoibWVyaWFkb2MuYnJhbmR5YnVja0BidWNrbGFuZC5leGFtcGxlIiwi\
            ZXBrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoibVBVS1RfYkFXR0hJaGcwVHBqanFWc1AxclhX\
            UXVfdndWT0hIdE5rZFlvQSIsInkiOiI4QlFBc0ltR2VBUzQ2ZnlXdzVNaFlmR1RUMElqQnBGdzJTUzM0RHY0\
            SXJzIn0sImVuYyI6IkExMjhDQkMtSFMyNTYifQ",
        ciphertext: "BoDlwPnTypYq-ivjmQvAYJLb5Q6l-F3LIgQomlz87yW4OPKbWE1zSTEFjDfhU9IPIOSA9Bml4m7iDFwA-1ZX\
            vHteLDtw4R1XRGMEsDIqAYtskTTmzmzNa-_q4F_evAPUmwlO-ZG45Mnq4uhM1fm_D9rBtWolqZSF3xGNNkpO\
            MQKF1Cl8i8wjzRli7-IXgyirlKQsbhhqRzkv8IcY6aHl24j03C-AR2le1r7URUhArM79BY8soZU0lzwI-sD5\
            PZ3l4NDCCei9XkoIAfsXJWmySPoeRb2Ni5UZL4mYpvKDiwmyzGd65KqVw7MsFfI_K767G9C9Azp73gKZD0Dy\
            Un1mn0WW5LmyX_yJ-3AROq8p1WZBfG-ZyJ6195_JGG2m9Csg",
        tag: "WCCkNa-x4BeB9hIDIfFuhg",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.6",
        algorithm: ContentAlgorithm::A128Gcm,
        key: "XctOhJAkA-pD9Lh7ZgW_2A",
        iv: "refa467QzzKx6QAB",
        aad: "eyJhbGciOiJkaXIiLCJraWQiOiI3N2M3ZTJiOC02ZTEzLTQ1Y2YtODY3Mi02MTdiNWI0NTI0M2EiLCJlbmMi\
            OiJBMTI4R0NNIn0",
        ciphertext: "JW_i_f52hww_ELQPGaYyeAB6HYGcR559l9TYnSovc23XJoBcW29rHP8yZOZG7YhLpT1bjFuvZPjQS-m0IFtV\
            cXkZXdH_lr_FrdYt9HRUYkshtrMmIUAyGmUnd9zMDB2n0cRDIHAzFVeJUDxkUwVAE7_YGRPdcqMyiBoCO-FB\
            dE-Nceb4h3-FtBP-c_BIwCPTjb9o0SbdcdREEMJMyZBH8ySWMVi1gPD9yxi-aQpGbSv_F9N4IZAxscj5g-NJ\
            sUPbjk29-s7LJAGb15wEBtXphVCgyy53CoIKLHHeJHXex45Uz9aKZSRSInZI-wjsY0yu3cT4_aQ3i1o-tiE-\
            F8Ios61EKgyIQ4CWao8PFMj8TTnp",
        tag: "vbb32Xvllea2OtmHAdccRQ",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.7",
        algorithm: ContentAlgorithm::A128CbcHs256,
        key: "UWxARpat23nL9ReIj4WG3D1ee9I4r-Mv5QLuFXdy_rE",
        iv: "gz6NjyEFNm_vm8Gj6FwoFQ",
        aad: "eyJhbGciOiJBMjU2R0NNS1ciLCJraWQiOiIxOGVjMDhlMS1iZmE5LTRkOTUtYjIwNS0yYjRkZDFkNDMyMWQi\
            LCJ0YWciOiJrZlBkdVZRM1QzSDZ2bmV3dC0ta3N3IiwiaXYiOiJLa1lUMEdYXzJqSGxmcU5fIiwiZW5jIjoi\
            QTEyOENCQy1IUzI1NiJ9",
        ciphertext: "Jf5p9-ZhJlJy_IQ_byKFmI0Ro7w7G1QiaZpI8OaiVgD8EqoDZHyFKFBupS8iaEeVIgMqWmsuJKuoVgzR3Yfz\
            oMd3GxEm3VxNhzWyWtZKX0gxKdy6HgLvqoGNbZCzLjqcpDiF8q2_62EVAbr2uSc2oaxFmFuIQHLcqAHxy514\
            49xkjZ7ewzZaGV3eFqhpco8o4DijXaG5_7kp3h2cajRfDgymuxUbWgLqaeNQaJtvJmSMFuEOSAzw9Hdeb6yh\
            dTynCRmu-kqtO5Dec4lT2OMZKpnxc_F1_4yDJFcqb5CiDSmA-psB2k0JtjxAj4UPI61oONK7zzFIu4gBfjJC\
            ndsZfdvG7h8wGjV98QhrKEnR7xKZ3KCr0_qR1B-gxpNk3xWU",
        tag: "DKW7jrb4WaRSNfbXVPlT5g",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.8",
        algorithm: ContentAlgorithm::A128Gcm,
        key: "aY5_Ghmk9KxWPBLu_glx1w",
        iv: "Qx0pmsDa8KnJc9Jo",
        aad: "eyJhbGciOiJBMTI4S1ciLCJraWQiOiI4MWIyMDk2NS04MzMyLTQzZDktYTQ2OC04MjE2MGFkOTFhYzgiLCJl\
            bmMiOiJBMTI4R0NNIn0",
        ciphertext: "AwliP-KmWgsZ37BvzCefNen6VTbRK3QMA4TkvRkH0tP1bTdhtFJgJxeVmJkLD61A1hnWGetdg11c9ADsnWgL\
            56NyxwSYjU1ZEHcGkd3EkU0vjHi9gTlb90qSYFfeF0LwkcTtjbYKCsiNJQkcIp1yeM03OmuiYSoYJVSpf7ej\
            6zaYcMv3WwdxDFl8REwOhNImk2Xld2JXq6BR53TSFkyT7PwVLuq-1GwtGHlQeg7gDT6xW0JqHDPn_H-puQsm\
            thc9Zg0ojmJfqqFvETUxLAF-KjcBTS5dNy6egwkYtOt8EIHK-oEsKYtZRaa8Z7MOZ7UGxGIMvEmxrGCPeJa1\
            4slv2-gaqK0kEThkaSqdYw0FkQZF",
        tag: "ER7MWJZ1FBI_NKvn7Zb1Lw",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.9",
        algorithm: ContentAlgorithm::A128Gcm,
        key: "hC-MpLZSuwWv8sexS6ydfw",
        iv: "p9pUq6XHY0jfEZIl",
        aad: "eyJhbGciOiJBMTI4S1ciLCJraWQiOiI4MWIyMDk2NS04MzMyLTQzZDktYTQ2OC04MjE2MGFkOTFhYzgiLCJl\
            bmMiOiJBMTI4R0NNIiwiemlwIjoiREVGIn0",
        ciphertext: "HbDtOsdai1oYziSx25KEeTxmwnh8L8jKMFNc1k3zmMI6VB8hry57tDZ61jXyezSPt0fdLVfe6Jf5y5-JaCap\
            _JQBcb5opbmT60uWGml8blyiMQmOn9J--XhhlYg0m-BHaqfDO5iTOWxPxFMUedx7WCy8mxgDHj0aBMG6152P\
            sM-w5E_o2B3jDbrYBKhpYA7qi3AyijnCJ7BP9rr3U8kxExCpG3mK420TjOw",
        tag: "VILuUwuIxaLVmh5X-T7kmA",
        // Compressed, by what the broker does not undo.
        plaintext: Plaintext::Octets(
            "bY_BDcIwDEVX-QNU3QEOrIA4pqlDokYxchxVvbEDGzIJbioOSJwc-f___HPjBu8KVFpVtAplVE1-wZo0YjNZo\
            3C7R5v72pV5f5X382VWjYQpqZKAyjziZOr2B7kQPSy6oZIXUnDYbVKN4jNXi2u0yB7t1qSHTjmMODf9QgvrDzf\
            TIQXnyQRuUya4zIWG3vTOdir0v7BRHFYWq3k1k1A_gSDJqtcBF-GZxw8",
        ),
    },
    Message {
        section: "5.10",
        algorithm: ContentAlgorithm::A128Gcm,
        key: "75m1ALsYv10pZTKPWrsqdg",
        iv: "veCx9ece2orS7c_N",
        aad: "eyJhbGciOiJBMTI4S1ciLCJraWQiOiI4MWIyMDk2NS04MzMyLTQzZDktYTQ2OC04MjE2MGFkOTFhYzgiLCJl\
            bmMiOiJBMTI4R0NNIn0.WyJ2Y2FyZCIsW1sidmVyc2lvbiIse30sInRleHQiLCI0LjAiXSxbImZuIix7fSwi\
            dGV4dCIsIk1lcmlhZG9jIEJyYW5keWJ1Y2siXSxbIm4iLHt9LCJ0ZXh0IixbIkJyYW5keWJ1Y2siLCJNZXJp\
            YWRvYyIsIk1yLiIsIiJdXSxbImJkYXkiLHt9LCJ0ZXh0IiwiVEEgMjk4MiJdLFsiZ2VuZGVyIix7fSwidGV4\
            dCIsIk0iXV1d",
        ciphertext: "Z_3cbr0k3bVM6N3oSNmHz7Lyf3iPppGf3Pj17wNZqteJ0Ui8p74SchQP8xygM1oFRWCNzeIa6s6BcEtp8qEF\
            iqTUEyiNkOWDNoF14T_4NFqF-p2Mx8zkbKxI7oPK8KNarFbyxIDvICNqBLba-v3uzXBdB89fzOI-Lv4PjOFA\
            QGHrgv1rjXAmKbgkft9cB4WeyZw8MldbBhc-V_KWZslrsLNygon_JJWd_ek6LQn5NRehvApqf9ZrxB4aq3FX\
            BxOxCys35PhCdaggy2kfUfl2OkwKnWUbgXVD1C6HxLIlqHhCwXDG59weHrRDQeHyMRoBljoV3X_bUTJDnKBF\
            Ood7nLz-cj48JMx3SnCZTpbQAkFV",
        tag: "vOaH_Rajnpy_3hOtqvZHRA",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.11",
        algorithm: ContentAlgorithm::A128Gcm,
        key: "WDgEptBmQs9ouUvArz6x6g",
        iv: "WgEJsDS9bkoXQ3nR",
        aad: "eyJlbmMiOiJBMTI4R0NNIn0",
        ciphertext: "lIbCyRmRJxnB2yLQOTqjCDKV3H30ossOw3uD9DPsqLL2DM3swKkjOwQyZtWsFLYMj5YeLht_StAn21tHmQJu\
            uNt64T8D4t6C7kC9OCCJ1IHAolUv4MyOt80MoPb8fZYbNKqplzYJgIL58g8N2v46OgyG637d6uuKPwhAnTGm\
            _zWhqc_srOvgiLkzyFXPq1hBAURbc3-8BqeRb48iR1-_5g5UjWVD3lgiLCN_P7AW8mIiFvUNXBPJK3nOWL4t\
            eUPS8yHLbWeL83olU4UAgL48x-8dDkH23JykibVSQju-f7e-1xreHWXzWLHs1NqBbre0dEwK3HX_xM0LjUz7\
            7Krppgegoutpf5qaKg3l-_xMINmf",
        tag: "fNYLqpUe84KD45lvDiaBAQ",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.12",
        algorithm: ContentAlgorithm::A128Gcm,
        key: "KBooAFl30QPV3vkcZlXnzQ",
        iv: "YihBoVOGsR1l7jCD",
        aad: "",
        ciphertext: "qtPIMMaOBRgASL10dNQhOa7Gqrk7Eal1vwht7R4TT1uq-arsVCPaIeFwQfzrSS6oEUWbBtxEasE0vC6r7sph\
            yVziMCVJEuRJyoAHFSP3eqQPb4Ic1SDSqyXjw_L3svybhHYUGyQuTmUQEDjgjJfBOifwHIsDsRPeBz1Nomqe\
            ifVPq5GTCWFo5k_MNIQURR2Wj0AHC2k7JZfu2iWjUHLF8ExFZLZ4nlmsvJu_mvifMYiikfNfsZAudISOa6O7\
            3yPZtL04k_1FI7WDfrb2w7OqKLWDXzlpcxohPVOLQwpA3mFNRKdY-bQz4Z4KX9lfz1cne31N4-8BKmojpw-O\
            dQjKdLOGkC445Fb_K1tlDQXw2sBF",
        tag: "e2m0Vm7JvjK2VpCKXS-kyg",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "5.13",
        algorithm: ContentAlgorithm::A128CbcHs256,
        key: "zXayeJ4gvm8NJr3IUInyokTUO-LbQNKEhe_zWlYbdpQ",
        iv: "VgEIHY20EnzUtZFl2RpB1g",
        aad: "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2In0",
        ciphertext: "ajm2Q-OpPXCr7-MHXicknb1lsxLdXxK_yLds0KuhJzfWK04SjdxQeSw2L9mu3a_k1C55kCQ_3xlkcVKC5yr_\
            _Is48VOoK0k63_QRM9tBURMFqLByJ8vOYQX0oJW4VUHJLmGhF-tVQWB7Kz8mr8zeE7txF0MSaP6ga7-siYxS\
            tR7_G07Thd1jh-zGT0wxM5g-VRORtq0K6AXpLlwEqRp7pkt2zRM0ZAXqSpe1O6FJ7FHLDyEFnD-zDIZukLpC\
            bzhzMDLLw2-8I14FQrgi-iEuzHgIJFIJn2wh9Tj0cg_kOZy9BqMRZbmYXMY9YQjorZ_P_JYG3ARAIF3OjDNq\
            pdYe-K_5Q5crGJSDNyij_ygEiItR5jssQVH2ofDQdLChtazE",
        tag: "BESYyFN7T09KY7i8zKs5_g",
        plaintext: Plaintext::Text(TRUST),
    },
    Message {
        section: "RFC 7516, A.4 and A.5",
        algorithm: ContentAlgorithm::A128CbcHs256,
        key: "BNMfxVSd_P4LZJ36P6pqzmt81C1vawnbyLEA8I-cLM8",
        iv: "AxY8DCtDaGlsbGljb3RoZQ",
        aad: "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2In0",
        ciphertext: "KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY",
        tag: "Mz-VPPyU4RlcuYv1IwIvzw",
        plaintext: Plaintext::Text("Live long and prosper."),
    },
];

#[test]
fn contents_decrypt_and_encrypt() {
    for message in &MESSAGES {
        let key = || ContentKey::from_bytes(message.algorithm, &octets(message.key)).unwrap();
        let (iv, aad, tag) = (octets(message.iv), message.aad.as_bytes(), octets(message.tag));
        let mut buffer = octets(message.ciphertext);
        let plaintext =
            key().decrypt_in_place(&iv, aad, &mut buffer, &tag).map(|text| text.to_vec());
        assert_eq!(plaintext, Ok(message.plaintext()), "{}", message.section);

        let mut buffer = message.plaintext();
        let length = buffer.len();
        buffer.resize(length + message.algorithm.overhead(), 0);
        let (ciphertext, made) = key().encrypt_in_place(&iv, aad, &mut buffer, length).unwrap();
        assert_eq!(ciphertext, octets(message.ciphertext), "{}", message.section);
        assert_eq!(*made, *tag, "{}", message.section);

        let mut buffer = octets(message.ciphertext);
        let other = format!("{}A", message.aad);
        let refused = key().decrypt_in_place(&iv, other.as_bytes(), &mut buffer, &tag);
        assert_eq!(refused.err(), Some(Error::Crypto), "{}", message.section);
    }
}

fn read(text: &str) -> Result<Jwe, Malformed> {
    let mut text = text.as_bytes().to_vec();
    let mut reader = Reader::new(&mut text);
    let WrappedKey::Jwe(jwe) = WrappedKey::read(&mut reader)? else { return Err(Malformed) };
    reader.end().map(|()| jwe)
}

#[test]
fn the_serializations_of_one_message_are_the_same_message() {
    let message = Message::of("5.8");
    let Message { aad, iv, ciphertext, tag, .. } = message;
    let key = "CBI6oDw8MydIx1IBntf_lQcw2MmJKIQx";
    let rest =
        format!(r#""protected":"{aad}","iv":"{iv}","ciphertext":"{ciphertext}","tag":"{tag}""#);
    for text in [
        format!(r#""{aad}.{key}.{iv}.{ciphertext}.{tag}""#),
        format!(r#"{{"recipients":[{{"encrypted_key":"{key}"}}],{rest}}}"#),
        format!(r#"{{"encrypted_key":"{key}",{rest}}}"#),
    ] {
        let jwe = read(&text).unwrap();
        let part = |span: Span| String::from(span.text(text.as_bytes()));
        let read = [jwe.protected, jwe.encrypted_key, jwe.iv, jwe.ciphertext, jwe.tag].map(part);
        assert_eq!(read, [*aad, key, *iv, *ciphertext, *tag].map(String::from), "{text}");
    }
}

#[test]
fn headers_that_ask_for_more_are_refused() {
    for (section, readable) in [
        ("5.1", true),
        ("5.2", true),
        // p2s, p2c
        ("5.3", false),
        // A key of P-384.
        ("5.4", false),
        ("5.5", true),
        ("5.6", true),
        // iv, tag
        ("5.7", false),
        ("5.8", true),
        // zip
        ("5.9", false),
        ("5.11", true),
        ("5.13", true),
    ] {
        let mut header = octets(Message::of(section).aad);
        assert_eq!(Header::read_all(&mut header).is_ok(), readable, "{section}");
    }
    let mut header = octets(Message::of("5.5").aad);
    let key = Header::read_all(&mut header).unwrap().ephemeral.unwrap();
    assert_eq!(key.x.text(&header), "mPUKT_bAWGHIhg0TpjjqVsP1rXWQu_vwVOHHtNkdYoA");
    assert_eq!(key.y.text(&header), "8BQAsImGeAS46fyWw5MhYfGTT0IjBpFw2SS34Dv4Irs");
}

#[test]
fn serializations_with_more_than_otrp_uses_are_refused() {
    let of = |section: &str, more: &str| {
        let Message { aad, iv, ciphertext, tag, .. } = Message::of(section);
        let protected = aad.split('.').next().unwrap();
        let rest = format!(r#""iv":"{iv}","ciphertext":"{ciphertext}","tag":"{tag}""#);
        format!(r#"{{{more},"protected":"{protected}",{rest}}}"#)
    };
    let flat = r#""encrypted_key":"jJIcM9J-hbx3wnqhf5FlkEYos0sHsF0H""#;
    assert!(read(&of("5.11", flat)).is_ok());
    // `aad`
    let aad = Message::of("5.10").aad.split('.').nth(1).unwrap();
    assert_eq!(read(&of("5.10", &format!(r#"{flat},"aad":"{aad}""#))).err(), Some(Malformed));
    // `unprotected`
    let unprotected =
        r#""unprotected":{"alg":"A128KW","kid":"81b20965-8332-43d9-a468-82160ad91ac8"}"#;
    assert_eq!(read(&of("5.11", &format!("{flat},{unprotected}"))).err(), Some(Malformed));
    // No protected header.
    let bare = of("5.12", flat).replace(r#""protected":"","#, "");
    assert_eq!(read(&bare).err(), Some(Malformed));
    // Several recipients.
    let several = r#""recipients":[{"encrypted_key":"ExInT0io9BqBMYF6-maw5tZlgoZXThD1zWKsHixJuw_elY4gSSId_w"},
        {"encrypted_key":"a7CclAejo_7JSuPB8zeagxXRam8dwCfmkt9-WyTpS1E"}]"#;
    assert_eq!(read(&of("5.13", several)).err(), Some(Malformed));
}
