//! Replaces the functions of std's unwinder, so that the linker leaves the unwinder out. The
//! unwinder would be half of the binary.
//!
//! The static release build aborts on a panic and has no symbols, so there is nothing to
//! unwind and no backtrace to print. A panic still prints its message and its source
//! location.

use std::ffi::{c_int, c_void};

/// Returns `_URC_END_OF_STACK`, which is 5, without visiting a frame.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    5
}

/// Defines functions that std calls only while it unwinds a frame, which never happens.
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

// On 32-bit Arm, the unwinder has different functions.
#[cfg(target_arch = "arm")]
never_called! {
    _Unwind_VRS_Get _Unwind_VRS_Set __aeabi_unwind_cpp_pr0 __aeabi_unwind_cpp_pr1
    __gnu_unwind_frame
}
