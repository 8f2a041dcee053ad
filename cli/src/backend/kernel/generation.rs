//! Loading programs that outlive the process, and taking over from those before.
//!
//! Every start is the same: other programs with maps of their own for the policy are loaded beside those that forward, share
//! their state, and take the interfaces over one by one ([`Kernel::attach`]). What was loaded before need not be known.

use firewall_core::tables::RuleCounter;

use super::error::KernelError;
use super::pins::Pins;
use super::{Kernel, object, readers};
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

    /// Removes what was loaded now. Called when no interface has a program of it.
    pub fn discard(&mut self) {
        self.generation.take().iter().for_each(|generation| Pins::end(generation));
    }

    /// Removes what was loaded before. Called when no interface has a program of it any more.
    pub fn end_others(&self) -> Result<(), KernelError> {
        // A program of them may be on its way to one of its other parts, which go with the pins.
        readers::wait_for_readers().map_err(KernelError::Wait)?;
        if let (Some(pins), Some(generation)) = (&self.pins, &self.generation) {
            pins.end_others(generation);
        }
        Ok(())
    }

    /// Puts a policy in force for which the loaded programs have no room: programs with more room take the interfaces over, one
    /// by one. Flows, neighbours and counters of zones stay. [`Self::retire`] clears up behind the programs before, which have
    /// all interfaces again when anything fails.
    pub fn replace(&mut self, image: &Image, config: &Config) -> Result<(), KernelError> {
        let Some(pins) = self.pins.clone() else { return Err(KernelError::Missing("folder for pins")) };
        let mut next = Self::load_pinned(image, config, &pins)?;
        let mut moved = Vec::new();
        let taken = next.set_devices(image).and_then(|()| {
            self.attached().into_iter().try_for_each(|(name, ifindex, hook)| {
                next.attach(&name, ifindex, hook)?;
                moved.push((name, ifindex, hook));
                Ok(())
            })
        });
        if let Err(error) = taken {
            moved.into_iter().try_for_each(|(name, ifindex, hook)| self.attach(&name, ifindex, hook))?;
            next.generation.iter().for_each(|generation| Pins::end(generation));
            return Err(error);
        }
        let before = std::mem::replace(self, next);
        self.before = Some(Box::new(before));
        Ok(())
    }

    /// Removes the programs before, that [`Self::replace`] has replaced and that run no more; what their rules had decided.
    pub(super) fn end_before(&mut self) -> Option<Result<Vec<RuleCounter>, KernelError>> {
        let before = self.before.take()?;
        let rules = before.slots[before.slot as usize].rules;
        let counters = (0..rules).map(|rule| before.rule_counter(rule)).collect();
        if let (Some(pins), Some(generation)) = (&self.pins, &self.generation) {
            pins.end_others(generation);
        }
        Some(counters)
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
