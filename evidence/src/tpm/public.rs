//! The public part of a TPM key.

use super::algorithm::{EccCurve, HashAlgorithm, Scheme, Symmetric};
use super::algorithm::{TPM_ALG_ECC, TPM_ALG_NULL, TPM_ALG_RSA};
use super::attributes::ObjectAttributes;
use super::wire::{Reader, Structure, WireError, put_sized, put_u16};

/// Longest RSA modulus or signature: 4096 bits.
pub(super) const LONGEST_RSA: usize = 512;
const LONGEST_DIGEST: usize = 64;

/// `TPMT_PUBLIC` (Part 2 §12.2.4) of an RSA or ECC key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmtPublic {
    /// `nameAlg`: hash of the key's name, and of its key derivations.
    pub name_algorithm: HashAlgorithm,
    /// `objectAttributes`.
    pub attributes: ObjectAttributes,
    /// `authPolicy`: empty, or a digest by `name_algorithm`.
    pub auth_policy: Vec<u8>,
    /// `parameters` and `unique`, which depend on the type.
    pub parameters: PublicParameters,
}

/// `TPMU_PUBLIC_PARMS` with `TPMU_PUBLIC_ID` (Part 2 §12.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicParameters {
    /// `TPM_ALG_ECC`.
    Ecc(EccParameters),
    /// `TPM_ALG_RSA`.
    Rsa(RsaParameters),
}

/// `TPMS_ECC_PARMS` (Part 2 §12.2.3.6) and the point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EccParameters {
    /// For storage keys, how children are protected.
    pub symmetric: Symmetric,
    /// The signing scheme, if the key fixes one.
    pub scheme: Scheme,
    /// The curve.
    pub curve: EccCurve,
    /// Affine x, big-endian, at most as long as the curve's coordinate (leading zeros may be gone).
    pub x: Vec<u8>,
    /// Affine y, likewise.
    pub y: Vec<u8>,
}

impl EccParameters {
    /// SEC 1 uncompressed point: `0x04 ‖ x ‖ y` at full length. Not checked to be on the curve.
    #[must_use]
    pub fn uncompressed_point(&self) -> Vec<u8> {
        let length = self.curve.coordinate_length();
        let mut point = vec![0x04];
        for coordinate in [&self.x, &self.y] {
            point.resize(point.len() + length.saturating_sub(coordinate.len()), 0);
            point.extend_from_slice(coordinate);
        }
        point
    }
}

/// `TPMS_RSA_PARMS` (Part 2 §12.2.3.5) and the modulus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaParameters {
    /// For storage keys, how children are protected.
    pub symmetric: Symmetric,
    /// The signing scheme, if the key fixes one.
    pub scheme: Scheme,
    /// Size of the modulus in bits.
    pub key_bits: u16,
    /// The exponent as it travels; 0 stands for 65537.
    pub exponent: u32,
    /// The modulus, big-endian.
    pub modulus: Vec<u8>,
}

impl RsaParameters {
    /// The public exponent.
    #[must_use]
    pub fn public_exponent(&self) -> u32 {
        if self.exponent == 0 { 65537 } else { self.exponent }
    }
}

impl TpmtPublic {
    /// Parses a whole `TPMT_PUBLIC` (without the size of a `TPM2B_PUBLIC`).
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16()?;
        if !matches!(kind, TPM_ALG_ECC | TPM_ALG_RSA) {
            return Err(WireError::ObjectType(kind));
        }
        let name_algorithm = HashAlgorithm::from_id(reader.u16()?)?;
        let attributes = ObjectAttributes::from_bits(reader.u32()?)?;
        let auth_policy = reader.sized(Structure::Digest, LONGEST_DIGEST)?.to_vec();
        let expected = name_algorithm.digest_length();
        if !auth_policy.is_empty() && auth_policy.len() != expected {
            let length = auth_policy.len();
            return Err(WireError::WrongLength { structure: Structure::Digest, length, expected });
        }
        let symmetric = Symmetric::read(&mut reader)?;
        let scheme = Scheme::read(&mut reader)?;
        let parameters = if kind == TPM_ALG_ECC {
            PublicParameters::Ecc(read_ecc(&mut reader, symmetric, scheme)?)
        } else {
            PublicParameters::Rsa(read_rsa(&mut reader, symmetric, scheme)?)
        };
        reader.finish()?;
        Ok(Self { name_algorithm, attributes, auth_policy, parameters })
    }

    /// Marshals to the bytes [`TpmtPublic::parse`] reads; the name is a digest over these.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        let (kind, symmetric, scheme) = match &self.parameters {
            PublicParameters::Ecc(ecc) => (TPM_ALG_ECC, ecc.symmetric, ecc.scheme),
            PublicParameters::Rsa(rsa) => (TPM_ALG_RSA, rsa.symmetric, rsa.scheme),
        };
        put_u16(&mut out, kind);
        put_u16(&mut out, self.name_algorithm.id());
        out.extend_from_slice(&self.attributes.bits().to_be_bytes());
        put_sized(&mut out, &self.auth_policy);
        symmetric.write(&mut out);
        scheme.write(&mut out);
        match &self.parameters {
            PublicParameters::Ecc(ecc) => {
                put_u16(&mut out, ecc.curve.id());
                put_u16(&mut out, TPM_ALG_NULL);
                put_sized(&mut out, &ecc.x);
                put_sized(&mut out, &ecc.y);
            }
            PublicParameters::Rsa(rsa) => {
                put_u16(&mut out, rsa.key_bits);
                out.extend_from_slice(&rsa.exponent.to_be_bytes());
                put_sized(&mut out, &rsa.modulus);
            }
        }
        out
    }

    /// The ECC parameters, if this is an ECC key.
    #[must_use]
    pub fn ecc(&self) -> Option<&EccParameters> {
        match &self.parameters {
            PublicParameters::Ecc(ecc) => Some(ecc),
            PublicParameters::Rsa(_) => None,
        }
    }
}

fn read_ecc(
    reader: &mut Reader<'_>,
    symmetric: Symmetric,
    scheme: Scheme,
) -> Result<EccParameters, WireError> {
    let curve = EccCurve::from_id(reader.u16()?)?;
    match reader.u16()? {
        TPM_ALG_NULL => {}
        other => return Err(WireError::Kdf(other)),
    }
    let limit = curve.coordinate_length();
    let x = reader.sized(Structure::EccParameter, limit)?.to_vec();
    let y = reader.sized(Structure::EccParameter, limit)?.to_vec();
    Ok(EccParameters { symmetric, scheme, curve, x, y })
}

fn read_rsa(
    reader: &mut Reader<'_>,
    symmetric: Symmetric,
    scheme: Scheme,
) -> Result<RsaParameters, WireError> {
    let key_bits = reader.u16()?;
    let exponent = reader.u32()?;
    let modulus = reader.sized(Structure::RsaParameter, LONGEST_RSA)?.to_vec();
    Ok(RsaParameters { symmetric, scheme, key_bits, exponent, modulus })
}
