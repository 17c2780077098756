//! From a change of configuration to a durable one.

use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_log::{EventLog, PartitionId, Position};
use deskpulse_proto::v1::{ConfigChange, EventBlock};
use prost::Message;

use crate::batch::{Intake, fault};

impl<L: EventLog> Intake<L> {
    /// Writes a change to every partition and returns its positions, by partition, once it is on stable storage.
    ///
    /// All partitions at once, so that changes come in the same order in each of them.
    pub(crate) async fn append_config(&self, change: Option<ConfigChange>) -> Result<Vec<Position>, Fault> {
        if self.drain.streams_ended() {
            return Err(Fault::new(Reason::Draining, "ingest is shutting down: send the change to another, or later"));
        }
        let change = change
            .filter(|change| change.change.is_some())
            .ok_or_else(|| Fault::in_field(Reason::FieldRequired, "change", "change is required: say what is set"))?;
        if change.tenant.is_empty() {
            return Err(Fault::in_field(Reason::FieldRequired, "change.tenant", "change.tenant is required"));
        }
        let block = EventBlock { config: Some(change), ..EventBlock::default() }.encode_to_vec();
        let blocks = (0..self.log.partitions()).map(|partition| (PartitionId(partition), block.clone())).collect();
        self.log.queue(blocks).await.map_err(fault)?.durable().await.map_err(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use deskpulse_edge::server::Drain;
    use deskpulse_log::{Appended, Block, BlockReader, LogError};
    use deskpulse_proto::v1::Tenant;
    use deskpulse_proto::v1::config_change::Change;

    use super::*;
    use crate::Limits;

    /// A log of three partitions that only remembers what was queued, call by call.
    #[derive(Default)]
    struct Remembered(Mutex<Vec<Blocks>>);

    type Blocks = Vec<(PartitionId, Vec<u8>)>;

    struct Nothing;

    impl BlockReader for Nothing {
        async fn next(&mut self) -> Result<Option<Block>, LogError> {
            Ok(None)
        }
    }

    impl EventLog for Remembered {
        type Reader = Nothing;

        fn partitions(&self) -> u32 {
            3
        }

        fn identity(&self) -> u64 {
            1
        }

        async fn queue(&self, blocks: Blocks) -> Result<Appended, LogError> {
            let positions = blocks.iter().map(|(partition, _)| Position(u64::from(partition.0) + 7)).collect();
            self.0.lock().expect("nothing panics").push(blocks);
            Ok(Appended::new(async move { Ok(positions) }))
        }

        fn head(&self, _: PartitionId) -> Result<Position, LogError> {
            Ok(Position::START)
        }

        fn first(&self, _: PartitionId) -> Result<Position, LogError> {
            Ok(Position::START.next())
        }

        async fn truncate_below(&self, _: Vec<(PartitionId, Position)>) -> Result<(), LogError> {
            Ok(())
        }

        fn read(&self, _: PartitionId, _: Position) -> Result<Self::Reader, LogError> {
            Ok(Nothing)
        }
    }

    fn change() -> ConfigChange {
        ConfigChange { tenant: "acme".to_owned(), change: Some(Change::Settings(Tenant::default())) }
    }

    #[tokio::test]
    async fn a_change_goes_to_every_partition_in_one_append() {
        let intake = Intake::new(Remembered::default(), Limits::default(), Drain::default());
        let positions = intake.append_config(Some(change())).await;
        assert_eq!(positions, Ok(vec![Position(7), Position(8), Position(9)]));
        let queued = intake.log.0.lock().expect("nothing panics");
        let [blocks] = queued.as_slice() else { panic!("{} appends", queued.len()) };
        let partitions: Vec<u32> = blocks.iter().map(|(partition, _)| partition.0).collect();
        assert_eq!(partitions, [0, 1, 2]);
        for (_, block) in blocks {
            let block = EventBlock::decode(block.as_slice()).expect("a block");
            assert_eq!(block, EventBlock { config: Some(change()), ..EventBlock::default() });
        }
    }

    #[tokio::test]
    async fn a_change_of_nothing_or_of_nobody_is_not_written() {
        let intake = Intake::new(Remembered::default(), Limits::default(), Drain::default());
        let refused = async |change| intake.append_config(change).await.expect_err("refused");
        let nobody = ConfigChange { tenant: String::new(), ..change() };
        let nothing = ConfigChange { change: None, ..change() };
        for (bad, field) in [(None, "change"), (Some(nothing), "change"), (Some(nobody), "change.tenant")] {
            let fault = refused(bad).await;
            assert_eq!((fault.reason, fault.field.as_str()), (Reason::FieldRequired, field));
        }
        assert_eq!(intake.log.0.lock().expect("nothing panics").len(), 0);
    }
}
