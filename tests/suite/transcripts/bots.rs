//! Bots, and help without anybody.

use super::check;

#[test]
fn a_bot_contains_what_is_resolved_without_a_human() {
    check(
        "
        09:00 contained opened
        09:01 contained bot
        09:10 contained status resolved
        09:00 handed-over opened
        09:01 handed-over bot
        09:02 handed-over handoff team:first
        09:05 handed-over reply A
        09:10 handed-over status resolved by=A
        09:00 given-away assigned bot:b
        09:02 given-away assigned A
        09:10 given-away status resolved
        09:00 helped opened
        09:00 helped assigned bot:b
        09:05 helped reply A
        09:10 helped status resolved
        09:00 called opened
        09:01 called bot
        09:05 called leg L connected agent=A
        09:06 called leg L ended reason=completed
        09:10 called status resolved
        09:00 unresolved opened
        09:01 unresolved bot
        09:00 reopened opened
        09:01 reopened bot
        09:10 reopened status resolved
        09:20 reopened status open
        09:00 private opened
        09:01 private bot private
        09:10 private status resolved
        09:00 without opened
        09:05 without reply A
        09:10 without status resolved
        = bot_containment_rate numerator 1 denominator 7
        = handoff_rate numerator 2 denominator 7
        basis cohort
        = bot_containment_rate numerator 1 denominator 7
        = handoff_rate numerator 2 denominator 7
        from 09:00
        to 09:01
        = bot_containment_rate numerator 1 denominator 7
        basis event
        = handoff_rate numerator 0 denominator 2
        ",
    );
}

#[test]
fn a_session_is_deflected_when_its_customer_does_not_come_within_a_week() {
    check(
        "
        2026-06-01T10:00 session:quiet ended resolved customer=ann kind=article
        2026-06-01T10:00 session:came ended resolved customer=ben kind=bot
        2026-06-02T10:00 c1 opened customer=ben
        2026-06-01T10:00 session:came-late ended resolved customer=cas kind=ivr
        2026-06-08T10:00:00.001 c2 opened customer=cas
        2026-06-01T10:00 session:came-at-the-last ended resolved customer=dan
        2026-06-08T10:00 c3 opened customer=dan
        2026-06-01T10:00 session:came-before ended resolved customer=eva
        2026-06-01T10:00 c4 opened customer=eva
        2026-06-01T10:00 session:nobody ended resolved
        2026-06-01T10:00 session:escalated ended escalated customer=fay
        2026-06-01T10:00 session:abandoned ended abandoned customer=gil
        2026-06-01T10:00 session:unknown ended unknown customer=hal
        2026-06-01T10:00 session:unsaid ended
        2026-06-01T10:00 session:twice ended abandoned customer=ian
        2026-06-01T10:30 session:twice ended resolved customer=ian
        = deflection_rate numerator 5 denominator 9
        = deflection_rate to=2026-06-01T10:30 numerator 4 denominator 8 provisional no
        = deflection_rate provisional yes
        ",
    );
}
