//! The vector registers.
//!
//! What was computed in them stays there until something else is, and goes on the stack when the
//! dynamic linker looks up a function at its first call, or a signal comes.

/// Overwrites the vector registers that a function may leave with anything in them.
#[inline(never)]
pub fn wipe() {
    imp::wipe();
}

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::arch::asm;

    pub fn wipe() {
        if std::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has these registers; all are declared as clobbered where the
            // compiler uses them at all.
            unsafe {
                asm!(
                    "vpxord zmm16, zmm16, zmm16",
                    "vpxord zmm17, zmm17, zmm17",
                    "vpxord zmm18, zmm18, zmm18",
                    "vpxord zmm19, zmm19, zmm19",
                    "vpxord zmm20, zmm20, zmm20",
                    "vpxord zmm21, zmm21, zmm21",
                    "vpxord zmm22, zmm22, zmm22",
                    "vpxord zmm23, zmm23, zmm23",
                    "vpxord zmm24, zmm24, zmm24",
                    "vpxord zmm25, zmm25, zmm25",
                    "vpxord zmm26, zmm26, zmm26",
                    "vpxord zmm27, zmm27, zmm27",
                    "vpxord zmm28, zmm28, zmm28",
                    "vpxord zmm29, zmm29, zmm29",
                    "vpxord zmm30, zmm30, zmm30",
                    "vpxord zmm31, zmm31, zmm31",
                    clobber_abi("C"),
                    options(nostack, preserves_flags),
                );
            }
        }
        if std::is_x86_feature_detected!("avx") {
            // SAFETY: the processor has this instruction; all registers are declared as clobbered.
            unsafe {
                asm!(
                    "vzeroall",
                    clobber_abi("C"),
                    options(nostack, preserves_flags),
                );
            }
            return;
        }
        // SAFETY: every processor of this kind has these registers, all declared as clobbered.
        unsafe {
            asm!(
                "pxor xmm0, xmm0",
                "pxor xmm1, xmm1",
                "pxor xmm2, xmm2",
                "pxor xmm3, xmm3",
                "pxor xmm4, xmm4",
                "pxor xmm5, xmm5",
                "pxor xmm6, xmm6",
                "pxor xmm7, xmm7",
                "pxor xmm8, xmm8",
                "pxor xmm9, xmm9",
                "pxor xmm10, xmm10",
                "pxor xmm11, xmm11",
                "pxor xmm12, xmm12",
                "pxor xmm13, xmm13",
                "pxor xmm14, xmm14",
                "pxor xmm15, xmm15",
                clobber_abi("C"),
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod imp {
    use std::arch::asm;

    /// Those that a function has to give back as they were are not among them.
    pub fn wipe() {
        // SAFETY: every processor of this kind has these registers, all declared as clobbered.
        unsafe {
            asm!(
                "movi v0.2d, #0",
                "movi v1.2d, #0",
                "movi v2.2d, #0",
                "movi v3.2d, #0",
                "movi v4.2d, #0",
                "movi v5.2d, #0",
                "movi v6.2d, #0",
                "movi v7.2d, #0",
                "movi v16.2d, #0",
                "movi v17.2d, #0",
                "movi v18.2d, #0",
                "movi v19.2d, #0",
                "movi v20.2d, #0",
                "movi v21.2d, #0",
                "movi v22.2d, #0",
                "movi v23.2d, #0",
                "movi v24.2d, #0",
                "movi v25.2d, #0",
                "movi v26.2d, #0",
                "movi v27.2d, #0",
                "movi v28.2d, #0",
                "movi v29.2d, #0",
                "movi v30.2d, #0",
                "movi v31.2d, #0",
                clobber_abi("C"),
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod imp {
    pub fn wipe() {}
}

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests {
    use std::arch::asm;

    /// Puts something into two registers, has `then` done, and gives what they hold.
    fn left_by(then: extern "C" fn()) -> [[u8; 16]; 2] {
        let (value, mut left) = ([0xa5u8; 16], [[0u8; 16]; 2]);
        // SAFETY: reads and writes 16 bytes of each array; the call gets an aligned stack from the
        // compiler, and every register that it may change is declared.
        unsafe {
            asm!(
                "movdqu xmm7, [{value}]",
                "movdqu xmm14, [{value}]",
                "call {then}",
                "movdqu [r12], xmm7",
                "movdqu [r12 + 16], xmm14",
                value = in(reg) value.as_ptr(),
                then = in(reg) then,
                in("r12") left.as_mut_ptr(),
                clobber_abi("C"),
            );
        }
        left
    }

    extern "C" fn nothing() {}

    extern "C" fn wipe() {
        super::wipe();
    }

    #[test]
    fn vector_registers_are_zero_after_they_were_wiped() {
        assert_eq!(left_by(nothing), [[0xa5; 16]; 2]);
        assert_eq!(left_by(wipe), [[0; 16]; 2]);
    }
}
