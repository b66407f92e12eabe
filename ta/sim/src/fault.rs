//! Faults at an operation of a port, by its number.

use std::cell::RefCell;
use std::rc::Rc;

use otrp_engine::platform::PortError;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: the operation panics with [`Cut`], and nothing runs after it.
    Cut,
    /// The operation reports an error.
    Error(PortError),
}

/// On which side of its effect an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has no effect.
    Before,
    /// It has taken effect.
    After,
}

/// The payload of the panic that a power cut is.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

/// The fault that is planned, shared by all ports of a world.
#[derive(Clone, Debug, Default)]
pub struct Faults(Rc<RefCell<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    operations: Vec<Operation>,
    planned: Option<(usize, Moment, Fault)>,
    full_from: Option<usize>,
}

/// Something that a port was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The port's method.
    pub name: &'static str,
    /// Whether it changes what is stored; if not, both moments are the same.
    pub changes: bool,
}

impl Faults {
    /// Plans a fault at the `operation`th operation from now, counted from 0.
    pub fn plan(&self, operation: usize, moment: Moment, fault: Fault) {
        let planned = Some((operation, moment, fault));
        *self.0.borrow_mut() = Plan { planned, ..Plan::default() };
    }

    /// Plans that storage is full from the `operation`th operation on, counted from 0: until the
    /// plan is cleared only what is removed can be.
    pub fn fill(&self, operation: usize) {
        *self.0.borrow_mut() = Plan { full_from: Some(operation), ..Plan::default() };
    }

    /// Forgets the plan and counts from 0 again.
    pub fn clear(&self) {
        *self.0.borrow_mut() = Plan::default();
    }

    /// Operations since the last plan or clearing.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.0.borrow().operations.clone()
    }

    /// Runs an operation that changes something, with the fault that is due.
    ///
    /// # Errors
    /// The operation's, or the planned one.
    pub fn run<T>(
        &self,
        name: &'static str,
        operation: impl FnOnce() -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let Some((moment, fault)) = self.due(Operation { name, changes: true }) else {
            return operation();
        };
        if moment == Moment::After {
            operation()?;
        }
        fault.happen()
    }

    /// Lets an operation that changes nothing begin, or the fault that is due happen.
    ///
    /// # Errors
    /// The planned one.
    pub fn ask(&self, name: &'static str) -> Result<(), PortError> {
        match self.due(Operation { name, changes: false }) {
            None => Ok(()),
            Some((_, fault)) => fault.happen(),
        }
    }

    fn due(&self, operation: Operation) -> Option<(Moment, Fault)> {
        let mut plan = self.0.borrow_mut();
        let number = plan.operations.len();
        plan.operations.push(operation);
        if operation.takes_room() && plan.full_from.is_some_and(|first| first <= number) {
            return Some((Moment::Before, Fault::Error(PortError::Full)));
        }
        plan.planned.filter(|(at, ..)| *at == number).map(|(_, moment, fault)| (moment, fault))
    }
}

/// A commit that adds no blob and removes some.
pub const REMOVING_COMMIT: &str = "store.commit (removes)";

impl Operation {
    fn takes_room(self) -> bool {
        let frees = [REMOVING_COMMIT, "keys.destroy"].contains(&self.name);
        self.changes && !frees
    }
}

impl Fault {
    fn happen<T>(self) -> Result<T, PortError> {
        match self {
            // Not `panic_any`: nobody needs a message and a backtrace for each of thousands.
            Self::Cut => std::panic::resume_unwind(Box::new(Cut)),
            Self::Error(error) => Err(error),
        }
    }
}
