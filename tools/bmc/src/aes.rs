//! AES-128 in CBC mode, from FIPS 197 and NIST SP 800-38A.

const ROUNDS: usize = 10;

/// Multiplication by x in GF(2^8) (FIPS 197, 4.2.1).
const fn times_x(byte: u8) -> u8 {
    (byte << 1) ^ (((byte >> 7) & 1) * 0x1b)
}

const fn product(mut a: u8, mut b: u8) -> u8 {
    let mut sum = 0;
    while b != 0 {
        if b & 1 != 0 {
            sum ^= a;
        }
        a = times_x(a);
        b >>= 1;
    }
    sum
}

/// FIPS 197, 5.1.1: the inverse in GF(2^8), then the affine map.
const fn substitution() -> [u8; 256] {
    let mut table = [0; 256];
    let mut value = 0;
    while value < 256 {
        // The inverse is the 254th power; 0 has itself.
        let mut inverse = 1;
        let mut power = 0;
        while power < 254 {
            inverse = product(inverse, value as u8);
            power += 1;
        }
        table[value] = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4)
            ^ 0x63;
        value += 1;
    }
    table
}

const fn inverted(table: &[u8; 256]) -> [u8; 256] {
    let mut inverse = [0; 256];
    let mut value = 0;
    while value < 256 {
        inverse[table[value] as usize] = value as u8;
        value += 1;
    }
    inverse
}

static BOX: [u8; 256] = substitution();
static INVERSE_BOX: [u8; 256] = inverted(&BOX);

type Block = [u8; 16];

/// An expanded key.
pub(crate) struct Aes([Block; ROUNDS + 1]);

impl Aes {
    /// FIPS 197, 5.2.
    pub(crate) fn new(key: &Block) -> Self {
        let mut keys = [*key; ROUNDS + 1];
        let mut constant = 1;
        for round in 1..=ROUNDS {
            let before = keys[round - 1];
            let mut word = [
                BOX[usize::from(before[13])] ^ constant,
                BOX[usize::from(before[14])],
                BOX[usize::from(before[15])],
                BOX[usize::from(before[12])],
            ];
            constant = times_x(constant);
            for column in 0..4 {
                for row in 0..4 {
                    word[row] ^= before[column * 4 + row];
                    keys[round][column * 4 + row] = word[row];
                }
            }
        }
        Self(keys)
    }

    /// FIPS 197, 5.1.
    fn encrypt(&self, block: &mut Block) {
        add(block, &self.0[0]);
        for round in 1..=ROUNDS {
            let before = *block;
            // SubBytes and ShiftRows: row r moves r columns to the left.
            for (at, byte) in block.iter_mut().enumerate() {
                let row = at % 4;
                *byte = BOX[usize::from(before[(at + row * 4) % 16])];
            }
            if round < ROUNDS {
                mix(block, [2, 3, 1, 1]);
            }
            add(block, &self.0[round]);
        }
    }

    /// FIPS 197, 5.3.
    fn decrypt(&self, block: &mut Block) {
        for round in (1..=ROUNDS).rev() {
            add(block, &self.0[round]);
            if round < ROUNDS {
                mix(block, [14, 11, 13, 9]);
            }
            let before = *block;
            for (at, byte) in block.iter_mut().enumerate() {
                let row = at % 4;
                *byte = INVERSE_BOX[usize::from(before[(at + 16 - row * 4) % 16])];
            }
        }
        add(block, &self.0[0]);
    }

    /// Encrypts whole blocks; a rest is left as it is.
    pub(crate) fn encrypt_cbc(&self, iv: &Block, bytes: &mut [u8]) {
        let mut chain = *iv;
        for block in bytes.as_chunks_mut().0 {
            add(block, &chain);
            self.encrypt(block);
            chain = *block;
        }
    }

    /// Decrypts whole blocks; a rest is left as it is.
    pub(crate) fn decrypt_cbc(&self, iv: &Block, bytes: &mut [u8]) {
        let mut chain = *iv;
        for block in bytes.as_chunks_mut().0 {
            let encrypted = *block;
            self.decrypt(block);
            add(block, &chain);
            chain = encrypted;
        }
    }
}

fn add(block: &mut Block, key: &Block) {
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// MixColumns with the first row of its matrix (FIPS 197, 5.1.3 and 5.3.3).
fn mix(block: &mut Block, row: [u8; 4]) {
    for column in block.as_chunks_mut::<4>().0 {
        let before = *column;
        for (at, byte) in column.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |sum, index| {
                sum ^ product(before[index], row[(index + 4 - at) % 4])
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        core::array::from_fn(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
    }

    #[test]
    fn fips_197_appendix_b() {
        let aes = Aes::new(&bytes("2b7e151628aed2a6abf7158809cf4f3c"));
        let plain: Block = bytes("3243f6a8885a308d313198a2e0370734");
        let mut block = plain;
        aes.encrypt(&mut block);
        assert_eq!(block, bytes("3925841d02dc09fbdc118597196a0b32"));
        aes.decrypt(&mut block);
        assert_eq!(block, plain);
    }

    #[test]
    fn sp_800_38a_cbc() {
        let aes = Aes::new(&bytes("2b7e151628aed2a6abf7158809cf4f3c"));
        let iv = bytes("000102030405060708090a0b0c0d0e0f");
        let plain: [u8; 32] =
            bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let mut text = plain;
        aes.encrypt_cbc(&iv, &mut text);
        let expect = bytes("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2");
        assert_eq!(text, expect);
        aes.decrypt_cbc(&iv, &mut text);
        assert_eq!(text, plain);
    }
}
