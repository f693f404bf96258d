use super::*;

#[test]
fn a_script_of_honest_steps_connects_and_delivers() {
    let mut stage = Stage::new();
    for step in [
        Step::Connect(Who::Alice),
        Step::Run(1_000),
        Step::Send {
            from: Who::Bob,
            kind: 1,
            len: 40_000,
        },
        Step::Run(1_000),
    ] {
        stage.apply(&step);
    }
    assert_eq!(stage.delivered(Who::Bob), 1);
    stage.finish();
}

#[test]
fn every_byte_string_is_a_script() {
    for length in 0..200_u8 {
        let data: Vec<u8> = (length..=u8::MAX)
            .step_by(37)
            .cycle()
            .take(usize::from(length) * 2)
            .collect();
        run(&data);
    }
}

#[test]
#[should_panic(expected = "all told, once")]
fn a_message_that_nobody_accounts_for_is_found() {
    let mut stage = Stage::new();
    stage.apply(&Step::Connect(Who::Alice));
    stage.forge_message(Who::Alice);
    stage.finish();
}
