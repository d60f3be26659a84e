use gantry_content::testsuite;

use crate::Fixture;

#[test]
fn store_keeps_the_contract() {
    let mut fixtures = Vec::new();
    testsuite::run(|_| {
        let fixture = Fixture::new();
        let store = fixture.store.clone();
        fixtures.push(fixture);
        store
    });
}
