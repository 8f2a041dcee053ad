//! Loading programs that outlive the process, and taking over from those before.
//!
//! Every start is the same: other programs with maps of their own for the policy are loaded beside those that forward, share
//! their state, and take the interfaces over one by one ([`Kernel::attach`]). What was loaded before need not be known.

use super::error::KernelError;
use super::pins::Pins;
use super::{Kernel, membarrier, object};
use crate::compile::Image;
use crate::config::Config;

impl Kernel {
    /// Loads programs and tables that stay when the process ends, with the state that is pinned if there is one. Nothing is
    /// attached yet; [`Self::end_others`] is called when all is.
    pub fn load_pinned(image: &Image, config: &Config, pins: &Pins) -> Result<Self, KernelError> {
        let generation = pins.begin().map_err(KernelError::Pins)?;
        let loaded = object::load(image, config, Some((pins, &generation)));
        let kernel = loaded.and_then(|ebpf| Self::take_maps(ebpf, image, config));
        match kernel {
            Ok(mut kernel) => {
                kernel.pins = Some(pins.clone());
                kernel.generation = Some(generation);
                Ok(kernel)
            }
            Err(error) => {
                Pins::end(&generation);
                Err(error)
            }
        }
    }

    /// Removes what was loaded before. Called when no interface has a program of it any more.
    pub fn end_others(&self) -> Result<(), KernelError> {
        // A program of them may be on its way to one of its other parts, which go with the pins.
        membarrier::wait_for_readers().map_err(KernelError::Wait)?;
        if let (Some(pins), Some(generation)) = (&self.pins, &self.generation) {
            pins.end_others(generation);
        }
        Ok(())
    }

    /// Puts a policy in force for which the loaded programs have no room: programs with more room take the interfaces over.
    /// Flows, neighbours and counters stay, but for the counters of rules. `names` gives the names of interfaces.
    pub fn replace(
        &mut self,
        image: &Image,
        config: &Config,
        name: impl Fn(u32) -> Option<String>,
    ) -> Result<(), KernelError> {
        let Some(pins) = self.pins.clone() else { return Err(KernelError::Missing("folder for pins")) };
        let mut next = Self::load_pinned(image, config, &pins)?;
        next.set_devices(image)?;
        for (ifindex, hook) in self.attached() {
            if let Some(name) = name(ifindex) {
                next.attach(&name, ifindex, hook)?;
            }
        }
        *self = next;
        self.end_others()
    }

    /// Lets XDP programs send out of the interfaces of all zones.
    pub fn set_devices(&mut self, image: &Image) -> Result<(), KernelError> {
        let zones = image.zones.iter().enumerate().filter(|(_, zone)| zone.ifindex != 0);
        zones.into_iter().try_for_each(|(zone, record)| self.set_device(zone as u16, record.ifindex))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if self.pins.is_some() {
            self.leave();
        }
    }
}
