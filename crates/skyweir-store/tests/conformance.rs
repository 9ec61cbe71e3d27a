//! The in-memory reference passes the suite that other stores are judged by.

use skyweir_store::conformance::Memory;

skyweir_store::conformance_tests!(Memory::default());
