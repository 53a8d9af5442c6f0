//! The `odbc` destination: tables of any database with a driver for ODBC; rows and checkpoint in one
//! transaction, as `crate::driver` says.

use flywheel_base::Result;

use super::{Destination, DestinationConfig, DestinationContext, Guarantee, WriteMode};
use crate::driver::{DriverTarget, MODES};

pub use crate::source::odbc::Odbc;

impl DestinationConfig for Odbc {
    type Target = DriverTarget;

    const ABOUT: &'static str = <Self as crate::source::SourceConfig>::ABOUT;
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::Transaction;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        #[cfg(feature = "odbc")]
        {
            let connections = crate::connections::Connections::default();
            Ok(Box::new(self.database(&ctx.base_dir, connections)?))
        }
        #[cfg(not(feature = "odbc"))]
        {
            let _ = ctx;
            Err(crate::driver::lacking("odbc"))
        }
    }
}
