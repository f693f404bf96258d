//! The DTLS certificate of an endpoint, and signatures of one length.
//!
//! An ECDSA signature is two DER integers whose length depends on their value, which would make the sizes of datagrams
//! random. So signatures are drawn until they have the usual length, which half of them have.
//!
//! The private key comes from aws-lc's own generator, not from the endpoint's: signatures have a random part
//! that cannot be injected, so that the certificate would not repeat for a seed anyway, and this way who learns
//! the seed of an endpoint (from a recording of it, say) still cannot speak for its key.
//!
//! The validity dates are fixed: there is no clock here to ask, and no need. RFC 8827 section 6.5 binds the
//! certificate to the session by its fingerprint alone; nobody checks dates, and fixed ones tell nothing of the host.

use dimpl::crypto::{
    Buf, CryptoProvider, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey, aws_lc_rs,
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    date_time_ymd,
};
use str0m_proto::crypto::dtls::DtlsCert;

use crate::rng::Rng;

/// Makes a self-signed P-256 certificate with this common name, whose length is always the same.
pub(super) fn self_signed(name: &str, rng: &mut Rng) -> Result<DtlsCert, rcgen::Error> {
    let key = SteadyKeyPair(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params.serial_number = Some(serial_number(rng).to_vec().into());
    let certificate = params.self_signed(&key)?.der().to_vec();
    Ok(DtlsCert {
        certificate,
        private_key: key.0.serialize_der(),
    })
}

/// Firefox refuses a second certificate of the same issuer and serial number, and the issuer is the same everywhere.
/// The highest bits are fixed, so that the DER integer is positive and 16 bytes long.
fn serial_number(rng: &mut Rng) -> [u8; 16] {
    let mut serial: [u8; 16] = rng.bytes();
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

struct SteadyKeyPair(KeyPair);

impl PublicKeyData for SteadyKeyPair {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl rcgen::SigningKey for SteadyKeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = rcgen::SigningKey::sign(&self.0, message)?;
        for _ in 1..MAX_SIGNATURES {
            if signature.len() == USUAL_LEN {
                break;
            }
            signature = rcgen::SigningKey::sign(&self.0, message)?;
        }
        Ok(signature)
    }
}

/// aws-lc's cryptography for DTLS, with signatures of one length.
pub(super) fn dtls_crypto() -> CryptoProvider {
    CryptoProvider {
        key_provider: &SteadyKeys,
        ..aws_lc_rs::default_provider()
    }
}

#[derive(Debug)]
struct SteadyKeys;

impl KeyProvider for SteadyKeys {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, dimpl::CryptoError> {
        let key = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(der)?;
        Ok(Box::new(SteadySigningKey(key)))
    }
}

#[derive(Debug)]
struct SteadySigningKey(Box<dyn SigningKey>);

impl SigningKey for SteadySigningKey {
    fn sign(
        &mut self,
        data: &[u8],
        hash: HashAlgorithm,
        out: &mut Buf,
    ) -> Result<(), dimpl::CryptoError> {
        for _ in 0..MAX_SIGNATURES {
            self.0.sign(data, hash, out)?;
            if out.len() == USUAL_LEN {
                break;
            }
        }
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        self.0.supported_hash_algorithms()
    }
}

/// The length that half of all P-256 signatures have: one of the two integers needs a sign byte.
const USUAL_LEN: usize = 71;
/// Signatures drawn for one message. After these, which one session in 2^32 sees, the last one is taken as it is.
const MAX_SIGNATURES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn certificates_and_signatures_have_one_length() {
        let mut rng = Rng::new(&Seed::from([1; 32]));
        let first = self_signed("WebRTC", &mut rng).expect("certificate");
        for _ in 0..20 {
            let next = self_signed("WebRTC", &mut rng).expect("certificate");
            assert_eq!(next.certificate.len(), first.certificate.len());
            assert_eq!(next.private_key.len(), first.private_key.len());
            assert_ne!(next.certificate, first.certificate);
        }
        let mut key = SteadyKeys
            .load_private_key(&first.private_key)
            .expect("key");
        for n in 0..50u8 {
            let mut out = Buf::new();
            key.sign(&[n], HashAlgorithm::SHA256, &mut out)
                .expect("signature");
            assert_eq!(out.len(), USUAL_LEN);
        }
    }
}
