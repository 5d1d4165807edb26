//! Replaces the functions of std's unwinder, so that the linker leaves it out. It
//! would be half of the binary.
//!
//! The static release build aborts on a panic and holds no symbols. So there is
//! nothing to unwind and no backtrace to print. A panic still prints its message
//! and its place in the source.

use std::ffi::{c_int, c_void};

/// Reports the end of the stack at once. 5 is `_URC_END_OF_STACK`.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    5
}

/// The others are called while a frame is unwound, which never happens.
macro_rules! never_called {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> ! {
                std::process::abort()
            }
        )*
    };
}

never_called! {
    _Unwind_GetDataRelBase _Unwind_GetIP _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart _Unwind_GetTextRelBase _Unwind_Resume _Unwind_SetGR _Unwind_SetIP
}

// 32-bit Arm has an unwinder of its own, with other functions.
#[cfg(target_arch = "arm")]
never_called! {
    _Unwind_VRS_Get _Unwind_VRS_Set __aeabi_unwind_cpp_pr0 __aeabi_unwind_cpp_pr1
    __gnu_unwind_frame
}
