//! What one zone may ask of the daemon, and that it takes nothing from another one.

use std::net::IpAddr;

use firewall_core::DropReason;
use firewall_core::limit::{Rate, WORKS};

use super::{APP, DB, Family, LAB, Scenario, Step};

const RULES: &str = "allow app -> db  service udp\nallow lab -> db  service udp\n";
const DEFAULT: u32 = 2;
const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
/// Two at once, then one an hour: longer than any back end takes for a scenario.
const TWO: [Rate; WORKS] = [Rate { interval: HOUR, depth: 2 * HOUR }; WORKS];

pub(super) fn scenarios(family: Family, all: &mut Vec<Scenario>) {
    let new = |name: &str, rates| {
        let name = format!("limit/{}/{name}", family.name());
        Scenario { rates: Some(rates), needs_clock: true, ..Scenario::new(name, RULES) }
    };
    let address = |text: &str| text.parse::<IpAddr>().expect("address of a host");
    let (app, db) = (APP.address(family), DB.address(family));
    let (forget_app, forget_db) = (Step::Forget(APP.zone(), address(app)), Step::Forget(DB.zone(), address(db)));
    let query = |port: u16| APP.to(&DB, family).udp(port, 53, b"query");
    let reply = |port: u16| DB.to(&APP, family).udp(53, port, b"reply");
    let other = LAB.to(&DB, family).udp(1, 53, b"query");
    let expired = |port: u16| APP.to(&DB, family).ttl(1).udp(port, 53, b"query");

    new("resolve", TWO)
        .step(forget_db.clone())
        .resolve(&APP, &DB, db, &query(1), 0)
        .resolve(&APP, &DB, db, &query(2), 0)
        .drop(&APP, &query(3), DropReason::ResolveLimit)
        .drop(&APP, &query(1), DropReason::ResolveLimit)
        .report(&APP, &expired(4), DropReason::TtlExceeded)
        .resolve(&LAB, &DB, db, &other, 1)
        .step(Step::Advance(HOUR))
        .resolve(&APP, &DB, db, &query(3), 0)
        .drop(&APP, &query(4), DropReason::ResolveLimit)
        .add_to(all);
    new("report", TWO)
        .report(&APP, &expired(1), DropReason::TtlExceeded)
        .report(&APP, &expired(2), DropReason::TtlExceeded)
        // Dropped and counted like the ones before, but nobody is told.
        .drop(&APP, &expired(3), DropReason::TtlExceeded)
        .report(&LAB, &LAB.to(&DB, family).ttl(1).udp(1, 53, b"query"), DropReason::TtlExceeded)
        .step(forget_db.clone())
        .resolve(&APP, &DB, db, &query(1), 0)
        .step(Step::Advance(HOUR))
        .report(&APP, &expired(3), DropReason::TtlExceeded)
        .add_to(all);
    // A host of `app` makes up senders of its own subnet: the answers ask for hosts that do not exist.
    let absent = |last: &str| APP.neighbour(family, last);
    let forged = |last: &str| APP.link().ip(&absent(last), db).udp(1, 53, b"query");
    let answer = |last: &str| DB.link().ip(db, &absent(last)).udp(53, 1, b"reply");
    let nobody = LAB.neighbour(family, "99");
    let mut scenario = new("answers-to-absent-hosts", TWO);
    scenario.policy += "allow db -> lab  service udp\n";
    for last in ["91", "92", "93"] {
        scenario = scenario.pass(&APP, &DB, &forged(last), 0);
    }
    scenario
        .resolve(&DB, &APP, &absent("91"), &answer("91"), 0)
        .resolve(&DB, &APP, &absent("92"), &answer("92"), 0)
        .drop(&DB, &answer("93"), DropReason::ResolveLimit)
        // What `db` asks for itself it gets, and `app` as well.
        .resolve(&DB, &LAB, &nobody, &DB.link().ip(db, &nobody).udp(1, 53, b"query"), 2)
        .step(forget_db.clone())
        .resolve(&APP, &DB, db, &query(1), 0)
        .add_to(all);
    new("known-neighbours-need-no-daemon", [Rate::NONE; WORKS])
        .pass(&APP, &DB, &query(1), 0)
        .pass(&DB, &APP, &reply(1), 0)
        .add_to(all);
    let mac = [2, 0, 0, 7, 7, 7];
    new("a-refused-packet-begins-no-flow", [Rate::NONE; WORKS])
        .step(forget_db)
        .drop(&APP, &query(1), DropReason::ResolveLimit)
        .step(Step::Learn(DB.zone(), address(db), mac))
        .deny(&DB, &reply(1), DEFAULT)
        .add_to(all);
    new("a-refused-packet-confirms-no-flow", [Rate::NONE; WORKS])
        .pass(&APP, &DB, &query(1), 0)
        .step(forget_app)
        .drop(&DB, &reply(1), DropReason::ResolveLimit)
        .step(Step::Advance(31 * SECOND))
        .deny(&DB, &reply(1), DEFAULT)
        .add_to(all);
}
