//! The real files of the keyring module, its errors and times, with as much of a secret value and
//! of the system as they ask for. Only a compiler reads this; nothing of it runs.

#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/keyring/mod.rs"]
pub mod keyring;
#[path = "../../src/time/mod.rs"]
pub mod time;

/// As the real one, without locked memory, which is made of calls of Unix.
pub mod secret {
    /// See `src/secret/mod.rs`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SecretValue(Vec<u8>);

    impl SecretValue {
        /// See `src/secret/mod.rs`.
        pub fn copy_of(bytes: &[u8]) -> Self {
            Self(bytes.to_vec())
        }

        /// See `src/secret/mod.rs`.
        pub fn len(&self) -> usize {
            self.0.len()
        }

        /// See `src/secret/mod.rs`.
        pub fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        /// See `src/secret/mod.rs`.
        pub fn expose(&self) -> &[u8] {
            &self.0
        }
    }
}

/// As the real one, without randomness.
pub mod sys {
    /// See `src/sys/random.rs`.
    pub mod random {
        /// See `src/sys/random.rs`.
        pub fn fill(bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }
}
