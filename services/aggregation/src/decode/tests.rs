//! Whatever bytes come, this decoder and `prost` say the same of them.

mod lent;
mod soup;

use deskpulse_core::series::Names;
use deskpulse_proto::v1;
use prost::Message;

use super::{DecodedBlock, Recent, arrival, block, config, mention};
use soup::Soup;

/// What `prost` makes of the bytes of a block, given the same meaning; `None` where it refuses them.
fn reference(bytes: &[u8], names: &Names) -> Option<DecodedBlock> {
    let v1::EventBlock { events, mentions, config } = v1::EventBlock::decode(bytes).ok()?;
    let mut recent = Recent { names, tenant: None, source: None };
    let arrivals: Vec<_> = events.iter().map(|event| arrival(&lent::event(event), &mut recent)).collect();
    let mut decoded = DecodedBlock {
        events: u32::try_from(events.len()).expect("few"),
        indices: (0..).zip(&arrivals).filter_map(|(index, arrival)| arrival.as_ref().map(|_| index)).collect(),
        ..DecodedBlock::default()
    };
    decoded.block.change = config.clone().and_then(|change| config::change(change, names));
    decoded.block.mentions = mentions.iter().filter_map(|event| mention(&lent::event(event), &mut recent)).collect();
    decoded.block.arrivals = arrivals.into_iter().flatten().collect();
    decoded.config = config;
    Some(decoded)
}

/// Whether both take the bytes; what they take must be the same.
fn both_take(bytes: &[u8], names: &Names) -> bool {
    let (ours, expected) = (block(bytes, names), reference(bytes, names));
    match (&ours, &expected) {
        (Ok(ours), Some(expected)) => assert_eq!(format!("{ours:?}"), format!("{expected:?}"), "{bytes:02x?}"),
        (Err(_), None) => {}
        (Ok(_), None) => panic!("only prost refuses {bytes:02x?}"),
        (Err(error), Some(_)) => panic!("only prost takes {bytes:02x?}: {error}"),
    }
    expected.is_some()
}

#[test]
fn fields_in_any_order_repeated_unknown_and_oddly_written_come_to_what_prost_says() {
    let names = Names::default();
    let (mut events, mut meant, mut taken) = (0, 0, 0);
    for seed in 0..6_000 {
        let bytes = Soup::new(seed).block();
        if both_take(&bytes, &names) {
            let decoded = block(&bytes, &names).expect("it was just decoded");
            taken += 1;
            events += decoded.events;
            meant += decoded.indices.len();
        }
    }
    assert!(taken > 3_000, "only {taken} blocks were taken");
    assert!(events > 5_000 && meant > 3_000, "only {meant} of {events} events had a meaning");
}

#[test]
fn a_block_cut_off_anywhere_is_refused_as_prost_refuses_it() {
    let names = Names::default();
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..60 {
        let bytes = Soup::new(seed).block();
        for end in 0..bytes.len() {
            if both_take(&bytes[..end], &names) { taken += 1 } else { refused += 1 }
        }
    }
    assert!(taken > 60 && refused > 6_000, "{taken} taken, {refused} refused");
}

#[test]
fn a_block_with_bytes_changed_is_taken_or_refused_as_by_prost() {
    let names = Names::default();
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut soup = Soup::new(seed);
        let mut bytes = soup.block();
        soup.change_some(&mut bytes);
        if both_take(&bytes, &names) { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 2_000 && refused > 2_000, "{taken} taken, {refused} refused");
}

#[test]
fn numbers_of_ten_bytes_and_groups_a_hundred_deep_are_the_last_that_are_taken() {
    let names = Names::default();
    let sequence = |number: &[u8]| {
        let event = [&[0x28], number].concat();
        [&[0x0a, u8::try_from(event.len()).expect("short")], event.as_slice()].concat()
    };
    assert!(both_take(&sequence(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), &names));
    assert!(both_take(&sequence(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), &names));
    assert!(!both_take(&sequence(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), &names));
    assert!(!both_take(&sequence(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), &names));
    // Groups of field 9, which neither blocks nor events have.
    let nested = |depth: usize| [vec![0x4b; depth], vec![0x4c; depth]].concat();
    let within = |depth: usize| {
        let mut bytes = Vec::new();
        soup::delimited(1, &nested(depth), &mut bytes);
        bytes
    };
    let deepest = |bytes: &dyn Fn(usize) -> Vec<u8>| (90..110).rev().find(|depth| both_take(&bytes(*depth), &names));
    assert_eq!((deepest(&nested), deepest(&within)), (Some(100), Some(99)));
}

#[test]
fn a_field_of_a_block_in_another_wire_type_is_refused_and_an_unknown_field_is_not() {
    let names = Names::default();
    // Each wire type with a value that is good for it: groups end at once.
    let values: [&[u8]; 8] = [&[0x00], &[0; 8], &[0x00], &[], &[], &[0; 4], &[], &[]];
    let mut taken = Vec::new();
    for field in 0..=5u8 {
        for (wire_type, value) in (0..).zip(values) {
            let mut bytes = [&[field << 3 | wire_type], value].concat();
            if wire_type == 3 {
                bytes.push(field << 3 | 4);
            }
            if both_take(&bytes, &names) {
                taken.push((field, wire_type));
            }
        }
    }
    let unknown = [4, 5].into_iter().flat_map(|field| [0, 1, 2, 3, 5].map(|wire_type| (field, wire_type)));
    assert_eq!(taken, [(1, 2), (2, 2), (3, 2)].into_iter().chain(unknown).collect::<Vec<_>>());
}

#[test]
fn of_those_who_write_only_agents_and_bots_become_names_and_orders_do_not() {
    let names = Names::default();
    let message = |kind: v1::ActorKind| v1::Event {
        payload: Some(v1::event::Payload::MessageCreated(v1::MessageCreated {
            actor: Some(v1::Actor { kind: kind.into(), id: kind.as_str_name().to_owned() }),
            ..Default::default()
        })),
        ..Default::default()
    };
    let kinds = (0..).map_while(|number| v1::ActorKind::try_from(number).ok());
    let order = v1::Event {
        payload: Some(v1::event::Payload::CustomerLifecycle(v1::CustomerLifecycle {
            kind: v1::LifecycleKind::Order.into(),
            reference: "order 1".to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let events = kinds.clone().map(message).chain([order]).collect();
    block(&v1::EventBlock { events, ..Default::default() }.encode_to_vec(), &names).expect("it is a block");
    let known: Vec<_> = kinds.filter(|kind| names.find_symbol(kind.as_str_name()).is_some()).collect();
    assert_eq!(known, [v1::ActorKind::Agent, v1::ActorKind::Bot]);
    assert_eq!(names.find_symbol("order 1"), None);
}
