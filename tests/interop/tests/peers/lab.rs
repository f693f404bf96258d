//! What the tests share: the runtime, the foreign stacks, and turns, so that not more runs at once than the machine has
//! cores for.

use std::sync::{Arc, Mutex, PoisonError};

use bowline_interop::foreign::{Kind, Stack};
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::table::Table;

/// What the tests share.
pub(crate) struct Lab {
    pub(crate) runtime: Runtime,
    pub(crate) table: Mutex<Table>,
    turns: Arc<Semaphore>,
    stacks: [OnceCell<Result<Arc<Stack>, String>>; Kind::ALL.len()],
}

impl Lab {
    pub(crate) fn new() -> Arc<Self> {
        let runtime = Runtime::new().expect("threads can be started");
        Arc::new(Self {
            runtime,
            table: Mutex::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
            stacks: std::array::from_fn(|_| OnceCell::new()),
        })
    }

    /// The stack of this kind, started if it is not running yet.
    pub(crate) async fn stack(&self, kind: Kind) -> Result<Arc<Stack>, String> {
        let index = Kind::ALL
            .iter()
            .position(|k| *k == kind)
            .expect("it is one of all");
        let started = self.stacks[index].get_or_init(|| async {
            let stack = Stack::start(kind)
                .await
                .map_err(|error| error.to_string())?;
            self.table().version(kind, stack.version());
            Ok(Arc::new(stack))
        });
        started.await.clone()
    }

    /// Waits for one of the two turns.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        self.turns_of(1).await
    }

    /// Waits until nothing else runs.
    pub(crate) async fn alone(&self) -> OwnedSemaphorePermit {
        self.turns_of(TURNS).await
    }

    async fn turns_of(&self, count: usize) -> OwnedSemaphorePermit {
        let count = u32::try_from(count).expect("few");
        let turns = self.turns.clone().acquire_many_owned(count).await;
        turns.expect("never closed")
    }

    pub(crate) fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tests that run at once.
const TURNS: usize = 2;
