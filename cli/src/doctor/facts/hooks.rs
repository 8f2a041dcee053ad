//! Which programs hang on an interface.

use std::collections::HashMap;

use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType, loaded_programs};

use super::{Program, Programs};
use crate::backend::kernel::is_own_program;
use crate::interface::{Interface, LinkState, ingress_filters};

/// Names of all loaded programs, by the kernel's numbers.
pub(super) struct Names(HashMap<u32, String>);

impl Names {
    /// Asks the kernel; without the right to ask, no name is known.
    pub(super) fn read() -> Self {
        let known = loaded_programs().filter_map(Result::ok);
        Self(known.filter_map(|info| Some((info.id(), info.name_as_str()?.to_owned()))).collect())
    }

    fn program(&self, id: u32) -> Program {
        program(self.0.get(&id).map(String::as_str))
    }
}

/// What hangs on `interface`.
pub(super) fn programs(interface: &Interface, link: &LinkState, names: &Names) -> Programs {
    let xdp = link.xdp.iter().map(|attached| (attached.place, names.program(attached.program))).collect();
    let tcx = |way| {
        let infos = SchedClassifier::query_tcx(&interface.name, way).map(|(_, infos)| infos).unwrap_or_default();
        infos.iter().map(ProgramInfo::name_as_str).map(program).collect()
    };
    let clsact = ingress_filters(interface.index).unwrap_or_default();
    // A filter is shown as `name:[tag]`, or by the name alone.
    let bare = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
    let clsact = clsact.iter().map(|filter| program(Some(&bare(&filter.program)))).collect();
    Programs { xdp, tcx: tcx(TcAttachType::Ingress), clsact, egress: tcx(TcAttachType::Egress) }
}

fn program(name: Option<&str>) -> Program {
    let name = name.unwrap_or_default();
    Program { name: name.to_owned(), own: is_own_program(name) }
}
