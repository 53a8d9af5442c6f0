//! The `adbc` destination: tables of any database with a driver for ADBC; rows and checkpoint in one
//! transaction, as [`crate::driver`] says.

use flywheel_base::Result;

use super::{Destination, DestinationConfig, DestinationContext, Guarantee, WriteMode};
use crate::driver::{DriverTarget, MODES};

pub use crate::source::adbc::Adbc;

impl DestinationConfig for Adbc {
    type Target = DriverTarget;

    const ABOUT: &'static str = <Self as crate::source::SourceConfig>::ABOUT;
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::Transaction;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        #[cfg(feature = "adbc")]
        {
            let connections = crate::connections::Connections::default();
            Ok(Box::new(self.database(&ctx.base_dir, connections)?))
        }
        #[cfg(not(feature = "adbc"))]
        {
            let _ = ctx;
            Err(crate::driver::lacking("adbc"))
        }
    }
}
