//! checkpoint and restore where criu has nothing to do; what criu does is for the suites of youki and runc.

use gantry_testkit::{Bundle, Runtime};

#[test]
fn a_created_container_cannot_be_written() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.created(&bundle);
    let images = format!("--image-path={}", runtime.scratch().join("images").display());
    container.command("checkpoint", &[images.as_str()]).run().fails().says("created");
    assert_eq!(container.status(), "created");
}

#[test]
fn without_images_nothing_is_restored_and_nothing_stays() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.container(&bundle);
    let images = runtime.scratch().join("nowhere");
    let options = ["--detach", "--bundle", bundle.path().to_str().unwrap(), "--image-path"];
    let options = [&options[..], &[images.to_str().unwrap()]].concat();
    container.command("restore", &options).run().fails();
    assert!(runtime.leftovers().is_empty(), "{:?}", runtime.leftovers());
}
