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
    operations: usize,
    planned: Option<(usize, Moment, Fault)>,
}

impl Faults {
    /// Plans a fault at the `operation`th operation from now, counted from 0.
    pub fn plan(&self, operation: usize, moment: Moment, fault: Fault) {
        let mut plan = self.0.borrow_mut();
        plan.operations = 0;
        plan.planned = Some((operation, moment, fault));
    }

    /// Forgets the plan and counts from 0 again.
    pub fn clear(&self) {
        *self.0.borrow_mut() = Plan::default();
    }

    /// Operations since the last plan or clearing.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    /// Runs an operation that changes something, with the fault that is due.
    ///
    /// # Errors
    /// The operation's, or the planned one.
    pub fn run<T>(&self, operation: impl FnOnce() -> Result<T, PortError>) -> Result<T, PortError> {
        let due = {
            let mut plan = self.0.borrow_mut();
            let number = plan.operations;
            plan.operations += 1;
            plan.planned.filter(|(at, ..)| *at == number)
        };
        let Some((_, moment, fault)) = due else { return operation() };
        if moment == Moment::After {
            operation()?;
        }
        match fault {
            Fault::Cut => std::panic::panic_any(Cut),
            Fault::Error(error) => Err(error),
        }
    }
}
