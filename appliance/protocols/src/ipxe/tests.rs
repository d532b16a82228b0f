use alloc::string::{String, ToString};

use super::*;

const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0x77, 0, 1]);

#[test]
fn the_boot_script_is_exactly_this() {
    let token = BootToken::parse("00112233445566778899AABBCCDDEEFF").unwrap();
    let command_line = CommandLine::parse("console=ttyS0,115200 musher.url=https://10.77.0.1:8480");
    let script = boot_script(MAC, &token, &command_line.unwrap());
    let expect = "#!ipxe
echo Musher: boot ticket accepted for 52:54:00:77:00:01
set attempt:int32 0
:fetch
inc attempt
echo Musher: fetching kernel and initramfs, attempt ${attempt} of 5
imgfree ||
kernel --name kernel /boot/00112233445566778899aabbccddeeff/kernel || goto failed
initrd --name initramfs /boot/00112233445566778899aabbccddeeff/initramfs || goto failed
imgargs kernel initrd=initramfs console=ttyS0,115200 musher.url=https://10.77.0.1:8480 || goto failed
echo Musher: starting the sled agent
boot kernel ||
:failed
iseq ${attempt} 5 && goto give_up ||
echo Musher: that failed, trying again in ${attempt} seconds
sleep ${attempt} ||
goto fetch
:give_up
echo Musher: no boot after 5 attempts, powering off
sleep 10 ||
poweroff ||
echo Musher: this iPXE cannot power off, waiting for the appliance to cut the power
:wait
sleep 3600 ||
goto wait
";
    assert_eq!(script, expect);
}

#[test]
fn a_held_machine_is_told_and_never_goes_to_its_disk() {
    let reason = Notice::new("no boot ticket\n${net0/mac} && exit; shell");
    let script = held_script(MAC, &reason, 30);
    assert!(
        script.contains("will not boot: no boot ticket??"),
        "{script}"
    );
    assert!(!script.contains("${"), "{script}");
    assert_eq!(script.lines().count(), 9, "{script}");
    for way_out in ["exit", "sanboot", "shell"] {
        let command = |line: &str| line.starts_with(way_out);
        assert!(!script.lines().any(command), "{script}");
    }
}

#[test]
fn command_lines_cannot_act() {
    #[track_caller]
    fn check(text: &str, expect: Result<&str, ValueError>) {
        let parsed = CommandLine::parse(text).map(|line| line.to_string());
        assert_eq!(parsed, expect.map(String::from));
    }
    check(" quiet a=b,c ", Ok("quiet a=b,c"));
    check("", Ok(""));
    check("a\nexit", Err(ValueError::Character('\n')));
    check("a || exit", Err(ValueError::Character('|')));
    check("a && exit", Err(ValueError::Character('&')));
    check("a ; exit", Err(ValueError::Character(';')));
    check("${net0/ip}", Err(ValueError::Character('$')));
    check("a # b", Err(ValueError::Character('#')));
    check("a=\"b c\"", Err(ValueError::Character('"')));
    check("a\\", Err(ValueError::Character('\\')));
    check(&"x".repeat(2001), Err(ValueError::TooLong { bytes: 2001 }));
    let shown = alloc::format!("{:?}", CommandLine::parse("ticket=0123"));
    assert_eq!(shown, "Ok(CommandLine(11 bytes))");
}

#[test]
fn tokens_are_hexadecimal() {
    #[track_caller]
    fn check(text: &str, fits: bool) {
        assert_eq!(BootToken::parse(text).is_ok(), fits, "{text}");
    }
    check("0123456789abcdef", true);
    check("0123456789abcde", false);
    check("0123456789abcdeg", false);
    check("../../etc/passwd", false);
    check(&"a".repeat(128), true);
    check(&"a".repeat(129), false);
    let shown = alloc::format!("{:?}", BootToken::parse("0123456789abcdef").unwrap());
    assert!(!shown.contains("0123"), "{shown}");
}
