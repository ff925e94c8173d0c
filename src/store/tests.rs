mod files;
mod folders;
mod locks;
mod writing;

use crate::error::{Code, Failure};
use crate::store::StoreError;

fn code(error: StoreError) -> Code {
    Failure::from(error).code
}
