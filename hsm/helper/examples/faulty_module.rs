//! A PKCS#11 module with one token that fails in the way the variable `FAULT` names; for tests of what no SoftHSM does.
//!
//! The token has one acceptable AES key, whatever it is asked for. `FAULT` is one of the words in [`at`]'s callers.
#![expect(unsafe_code, reason = "this is the foreign side of a C interface")]

use std::env;
use std::process;
use std::ptr;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_MECHANISM, CK_MECHANISM_TYPE, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV,
    CK_SESSION_HANDLE, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR, CK_VERSION, CKA_EXTRACTABLE, CKA_KEY_TYPE,
    CKA_VALUE_LEN, CKF_LOGIN_REQUIRED, CKF_TOKEN_INITIALIZED, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_INITIALIZED, CKF_USER_PIN_LOCKED,
    CKK_AES, CKM_AES_GCM, CKR_DEVICE_REMOVED, CKR_GENERAL_ERROR, CKR_OK, CKR_PIN_LOCKED,
};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};

const TAG_BYTES: CK_ULONG = 16;

/// Is this the fault that was asked for?
fn at(fault: &str) -> bool {
    env::var("FAULT").is_ok_and(|asked| asked == fault)
}

unsafe extern "C" fn initialize(_arguments: *mut std::ffi::c_void) -> CK_RV {
    if at("initialize-crashes") {
        // A wild pointer is what a crash in a vendor's module mostly is.
        // SAFETY: none; the test wants the fault.
        unsafe { ptr::read_volatile(ptr::without_provenance::<u8>(8)) };
    }
    abort_unless(is_hardened());
    CKR_OK
}

/// What the process must have denied itself before any of our code ran.
fn is_hardened() -> bool {
    let no_core = getrlimit(Resource::RLIMIT_CORE) == Ok((0, 0));
    let not_dumpable = prctl::get_dumpable() == Ok(false);
    let no_socket = std::fs::read_link("/proc/self/fd/0").is_ok_and(|target| target == std::path::Path::new("/dev/null"));
    no_core && not_dumpable && no_socket && dies_with_parent()
}

fn dies_with_parent() -> bool {
    prctl::get_pdeathsig() == Ok(Some(Signal::SIGKILL)) && !stop_is_blocked()
}

fn stop_is_blocked() -> bool {
    SigSet::thread_get_mask().is_ok_and(|mask| mask.contains(Signal::SIGTERM))
}

fn abort_unless(holds: bool) {
    if at("checks-hardening") && !holds {
        process::abort();
    }
}

unsafe extern "C" fn finalize(_reserved: *mut std::ffi::c_void) -> CK_RV {
    if at("finalize-fails") { CKR_GENERAL_ERROR } else { CKR_OK }
}

unsafe extern "C" fn slot_list(_with_token: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    // SAFETY: the caller passes a valid count, and an array of that many entries or null.
    unsafe {
        if !slots.is_null() {
            *slots = 0;
        }
        *count = 1;
    }
    CKR_OK
}

unsafe extern "C" fn token_info(_slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    let mut flags: CK_FLAGS = CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED;
    if at("final-try") || at("final-try-login-crashes") {
        flags |= CKF_USER_PIN_FINAL_TRY;
    }
    if at("locked-login-crashes") {
        flags |= CKF_USER_PIN_LOCKED;
    }
    let mut told = CK_TOKEN_INFO { label: [b' '; 32], manufacturerID: [b' '; 32], model: [b' '; 16], flags, ..CK_TOKEN_INFO::default() };
    told.label[..6].copy_from_slice(b"faulty");
    told.serialNumber = *b"0000000000000042";
    // SAFETY: the caller passes a valid place.
    unsafe { *info = told };
    CKR_OK
}

unsafe extern "C" fn mechanism_list(_slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) -> CK_RV {
    let offered = CK_ULONG::from(!at("no-gcm"));
    // SAFETY: as for the slot list.
    unsafe {
        if !list.is_null() && offered == 1 {
            *list = CKM_AES_GCM;
        }
        *count = offered;
    }
    CKR_OK
}

unsafe extern "C" fn open_session(
    _slot: CK_SLOT_ID,
    _flags: CK_FLAGS,
    _application: *mut std::ffi::c_void,
    _notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    // SAFETY: the caller passes a valid place.
    unsafe { *session = 1 };
    CKR_OK
}

unsafe extern "C" fn close_session(_session: CK_SESSION_HANDLE) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn login(_session: CK_SESSION_HANDLE, _user: CK_USER_TYPE, _pin: *mut CK_UTF8CHAR, _pin_bytes: CK_ULONG) -> CK_RV {
    abort_unless(prctl::get_pdeathsig() == Ok(None) && stop_is_blocked());
    if at("login-crashes") || at("final-try-login-crashes") || at("locked-login-crashes") {
        process::abort();
    }
    while at("login-hangs") {
        std::thread::park();
    }
    if at("login-locked") {
        return CKR_PIN_LOCKED;
    }
    if at("login-removed") { CKR_DEVICE_REMOVED } else { CKR_OK }
}

/// What the search still has to give; one process, one thread.
static FOUND: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

unsafe extern "C" fn find_init(_session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG) -> CK_RV {
    abort_unless(dies_with_parent());
    // SAFETY: the caller passes `count` attributes.
    let wanted = unsafe { std::slice::from_raw_parts(template, usize::try_from(count).expect("64 bit")) };
    // SAFETY: a key type is a CK_ULONG.
    let aes = wanted.iter().any(|one| one.type_ == CKA_KEY_TYPE && unsafe { *one.pValue.cast::<CK_ULONG>() } == CKK_AES);
    FOUND.store(u64::from(aes), std::sync::atomic::Ordering::Relaxed);
    CKR_OK
}

unsafe extern "C" fn find(_session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, _max: CK_ULONG, count: *mut CK_ULONG) -> CK_RV {
    let left = FOUND.swap(0, std::sync::atomic::Ordering::Relaxed);
    // SAFETY: the caller passes room for at least one handle.
    unsafe {
        *objects = 1;
        *count = left;
    }
    CKR_OK
}

unsafe extern "C" fn find_final(_session: CK_SESSION_HANDLE) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn attributes(
    _session: CK_SESSION_HANDLE,
    _object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller passes `count` attributes with room for the fixed-size values that it asks for.
    let asked = unsafe { std::slice::from_raw_parts_mut(template, usize::try_from(count).expect("64 bit")) };
    for one in asked {
        // SAFETY: as above.
        unsafe {
            match one.type_ {
                CKA_VALUE_LEN => *one.pValue.cast::<CK_ULONG>() = 32,
                other => *one.pValue.cast::<CK_BBOOL>() = CK_BBOOL::from(other != CKA_EXTRACTABLE),
            }
        }
    }
    CKR_OK
}

unsafe extern "C" fn crypt_init(_session: CK_SESSION_HANDLE, _mechanism: *mut CK_MECHANISM, _key: CK_OBJECT_HANDLE) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn encrypt(
    _session: CK_SESSION_HANDLE,
    _plain: *mut CK_BYTE,
    bytes: CK_ULONG,
    _out: *mut CK_BYTE,
    out_bytes: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller passes a valid length. The ciphertext stays what it was: zeros.
    unsafe { *out_bytes = bytes + TAG_BYTES };
    CKR_OK
}

unsafe extern "C" fn decrypt(
    _session: CK_SESSION_HANDLE,
    _data: *mut CK_BYTE,
    _bytes: CK_ULONG,
    _out: *mut CK_BYTE,
    _out_bytes: *mut CK_ULONG,
) -> CK_RV {
    CKR_GENERAL_ERROR
}

static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
    C_Initialize: Some(initialize),
    C_Finalize: Some(finalize),
    C_GetFunctionList: Some(C_GetFunctionList),
    C_GetSlotList: Some(slot_list),
    C_GetTokenInfo: Some(token_info),
    C_GetMechanismList: Some(mechanism_list),
    C_OpenSession: Some(open_session),
    C_CloseSession: Some(close_session),
    C_Login: Some(login),
    C_FindObjectsInit: Some(find_init),
    C_FindObjects: Some(find),
    C_FindObjectsFinal: Some(find_final),
    C_GetAttributeValue: Some(attributes),
    C_EncryptInit: Some(crypt_init),
    C_Encrypt: Some(encrypt),
    C_DecryptInit: Some(crypt_init),
    C_Decrypt: Some(decrypt),
    ..EMPTY
};

/// A list of nothing: every entry of the structure may be null, and a null function is `None`.
// SAFETY: the structure is a version of two bytes and optional function pointers; all zeros is a valid value of each.
const EMPTY: CK_FUNCTION_LIST =
    CK_FUNCTION_LIST { version: CK_VERSION { major: 2, minor: 40 }, ..unsafe { std::mem::MaybeUninit::zeroed().assume_init() } };

/// The one symbol of a PKCS#11 module.
///
/// # Safety
/// `list` must be a valid place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    // SAFETY: the caller's promise. Nobody writes through the pointer: cryptoki copies the list.
    unsafe { *list = ptr::from_ref(&FUNCTIONS).cast_mut() };
    CKR_OK
}
