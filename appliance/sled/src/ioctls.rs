//! The crate's only `unsafe`: ioctls that rustix does not wrap. Each function
//! is safe to call with any argument; a wrong one gives an error of the kernel.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, Updater, ioctl, opcode};
use zeroize::Zeroize;

// ---- block devices, linux/fs.h ----

const BLKFLSBUF: Opcode = opcode::none(0x12, 97);
const BLKDISCARD: Opcode = opcode::none(0x12, 119);
const BLKZEROOUT: Opcode = opcode::none(0x12, 127);
const BLKGETSIZE64: Opcode = opcode::read::<usize>(0x12, 114);

/// Size of a block device in bytes.
pub(crate) fn device_bytes(device: &File) -> io::Result<u64> {
    // SAFETY: BLKGETSIZE64 writes one u64.
    Ok(unsafe { ioctl(device, Getter::<BLKGETSIZE64, u64>::new()) }?)
}

/// Writes back and drops what the kernel has cached of a device.
pub(crate) fn drop_buffers(device: &File) -> io::Result<()> {
    // SAFETY: BLKFLSBUF takes no argument.
    Ok(unsafe { ioctl(device, NoArg::<BLKFLSBUF>::new()) }?)
}

/// Discards `bytes` bytes from `start`, both multiples of the logical block.
pub(crate) fn discard(device: &File, start: u64, bytes: u64) -> io::Result<()> {
    // SAFETY: BLKDISCARD reads two u64: start and length.
    Ok(unsafe { ioctl(device, Setter::<BLKDISCARD, [u64; 2]>::new([start, bytes])) }?)
}

/// Lets the kernel zero `bytes` bytes from `start`, by command or by writing.
pub(crate) fn zero_out(device: &File, start: u64, bytes: u64) -> io::Result<()> {
    // SAFETY: BLKZEROOUT reads two u64: start and length.
    Ok(unsafe { ioctl(device, Setter::<BLKZEROOUT, [u64; 2]>::new([start, bytes])) }?)
}

// ---- network interfaces, linux/sockios.h ----

const SIOCADDRT: Opcode = 0x890b;
const SIOCGIFFLAGS: Opcode = 0x8913;
const SIOCSIFFLAGS: Opcode = 0x8914;
const SIOCSIFADDR: Opcode = 0x8916;
const SIOCSIFNETMASK: Opcode = 0x891c;
const IFF_UP: u8 = 1;
const RTF_UP_GATEWAY: u16 = 1 | 2;

/// `struct sockaddr_in`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SocketAddress {
    family: u16,
    port: u16,
    address: [u8; 4],
    padding: [u8; 8],
}

impl SocketAddress {
    fn new(address: Ipv4Addr) -> Self {
        Self {
            family: 2, // AF_INET
            address: address.octets(),
            ..Self::default()
        }
    }
}

/// `struct ifreq` of a 64-bit kernel: a name and a union of 24 bytes.
#[repr(C)]
struct InterfaceRequest<T> {
    name: [u8; 16],
    data: T,
}

fn interface<T>(name: &str, data: T) -> io::Result<InterfaceRequest<T>> {
    let mut request = InterfaceRequest {
        name: [0; 16],
        data,
    };
    // One byte stays zero: IFNAMSIZ counts the terminator.
    match request.name.get_mut(..name.len()) {
        Some(bytes) if name.len() < 16 => bytes.copy_from_slice(name.as_bytes()),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(request)
}

/// Takes a link up or down. `socket` is any socket.
pub(crate) fn set_link(socket: impl AsFd, name: &str, up: bool) -> io::Result<()> {
    let mut request = interface(name, [0u8; 24])?;
    // SAFETY: SIOCGIFFLAGS reads and writes a struct ifreq.
    unsafe { ioctl(&socket, Updater::<SIOCGIFFLAGS, _>::new(&mut request)) }?;
    // The flags are the union's first 16 bits; IFF_UP is in the low byte of
    // the little-endian machines this agent is built for.
    if up {
        request.data[0] |= IFF_UP;
    } else {
        request.data[0] &= !IFF_UP;
    }
    // SAFETY: SIOCSIFFLAGS reads a struct ifreq.
    Ok(unsafe { ioctl(&socket, Setter::<SIOCSIFFLAGS, _>::new(request)) }?)
}

/// Gives an interface its only address. `socket` is an IPv4 socket.
pub(crate) fn set_address(
    socket: impl AsFd,
    name: &str,
    address: Ipv4Addr,
    mask: Ipv4Addr,
) -> io::Result<()> {
    let request = |address| {
        interface(
            name,
            [SocketAddress::new(address), SocketAddress::default()],
        )
    };
    // SAFETY: SIOCSIFADDR reads a struct ifreq whose union starts with a
    // sockaddr; ours is 8 bytes longer than the union.
    unsafe { ioctl(&socket, Setter::<SIOCSIFADDR, _>::new(request(address)?)) }?;
    // SAFETY: as above, for SIOCSIFNETMASK.
    Ok(unsafe { ioctl(&socket, Setter::<SIOCSIFNETMASK, _>::new(request(mask)?)) }?)
}

/// `struct rtentry` of a 64-bit kernel (linux/route.h).
#[repr(C)]
#[derive(Default)]
struct RouteEntry {
    padding1: usize,
    destination: SocketAddress,
    gateway: SocketAddress,
    mask: SocketAddress,
    flags: u16,
    padding2: i16,
    padding3: usize,
    padding4: usize,
    metric: i16,
    device: usize,
    mtu: usize,
    window: usize,
    round_trip: u16,
}

/// Adds the default route. `socket` is an IPv4 socket.
pub(crate) fn add_default_route(socket: impl AsFd, gateway: Ipv4Addr) -> io::Result<()> {
    let any = SocketAddress::new(Ipv4Addr::UNSPECIFIED);
    let route = RouteEntry {
        destination: any,
        gateway: SocketAddress::new(gateway),
        mask: any,
        flags: RTF_UP_GATEWAY,
        ..RouteEntry::default()
    };
    // SAFETY: SIOCADDRT reads a struct rtentry; its device pointer is null.
    Ok(unsafe { ioctl(&socket, Setter::<SIOCADDRT, _>::new(route)) }?)
}

// ---- loop devices, linux/loop.h ----

const LOOP_CLR_FD: Opcode = 0x4c01;
const LOOP_CONFIGURE: Opcode = 0x4c0a;
const LOOP_CTL_GET_FREE: Opcode = 0x4c82;
const LO_FLAGS_READ_ONLY: u32 = 1;

/// `LOOP_CTL_GET_FREE`, which answers by its return value.
struct LoopGetFree;

// SAFETY: the ioctl takes no argument and returns the device's number.
unsafe impl Ioctl for LoopGetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut core::ffi::c_void {
        core::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut core::ffi::c_void,
    ) -> rustix::io::Result<u32> {
        u32::try_from(output).map_err(|_| rustix::io::Errno::INVAL)
    }
}

/// `struct loop_config`: descriptor, block size, `struct loop_info64`, reserve.
#[repr(C)]
struct LoopConfig {
    file: u32,
    block_size: u32,
    info_head: [u64; 5],
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names_and_key: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 8 + 232 + 64);

/// Number of a free loop device. `control` is `/dev/loop-control`.
pub(crate) fn free_loop(control: &File) -> io::Result<u32> {
    // SAFETY: see the implementation above.
    Ok(unsafe { ioctl(control, LoopGetFree) }?)
}

/// Attaches `file` to a free loop device, read-only.
pub(crate) fn attach_loop(device: &File, file: &File) -> io::Result<()> {
    let config = LoopConfig {
        file: file.as_raw_fd().cast_unsigned(),
        block_size: 0,
        info_head: [0; 5],
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: LO_FLAGS_READ_ONLY,
        names_and_key: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads a struct loop_config; `file` is open.
    Ok(unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, _>::new(config)) }?)
}

/// Detaches a loop device.
pub(crate) fn detach_loop(device: &File) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    Ok(unsafe { ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }?)
}

// ---- device mapper, linux/dm-ioctl.h ----

const DM_DEV_CREATE: Opcode = opcode::read_write::<MapperHeader>(0xfd, 3);
const DM_DEV_SUSPEND: Opcode = opcode::read_write::<MapperHeader>(0xfd, 6);
const DM_TABLE_LOAD: Opcode = opcode::read_write::<MapperHeader>(0xfd, 9);
/// The kernel wipes its copy of the request: it holds a key.
const DM_SECURE_DATA_FLAG: u32 = 1 << 15;
const PARAMETER_BYTES: usize = 512;

/// `struct dm_ioctl`.
#[repr(C)]
struct MapperHeader {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// A header, one `struct dm_target_spec` and its parameters.
#[repr(C)]
struct MapperRequest {
    header: MapperHeader,
    start: u64,
    length: u64,
    status: i32,
    next: u32,
    kind: [u8; 16],
    parameters: [u8; PARAMETER_BYTES],
}

const _: () = assert!(size_of::<MapperHeader>() == 312);
const _: () = assert!(size_of::<MapperRequest>() == 312 + 40 + PARAMETER_BYTES);

fn mapper_request(name: &str) -> io::Result<MapperRequest> {
    let mut header = MapperHeader {
        version: [4, 0, 0],
        data_size: u32::try_from(size_of::<MapperRequest>()).unwrap_or(0),
        data_start: u32::try_from(size_of::<MapperHeader>()).unwrap_or(0),
        target_count: 0,
        open_count: 0,
        flags: DM_SECURE_DATA_FLAG,
        event: 0,
        padding: 0,
        device: 0,
        name: [0; 128],
        uuid: [0; 129],
        data: [0; 7],
    };
    match header.name.get_mut(..name.len()) {
        Some(bytes) if name.len() < 128 => bytes.copy_from_slice(name.as_bytes()),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(MapperRequest {
        header,
        start: 0,
        length: 0,
        status: 0,
        next: 0,
        kind: [0; 16],
        parameters: [0; PARAMETER_BYTES],
    })
}

/// Creates, loads and resumes a dm-crypt device over `sectors` sectors of 512
/// bytes. `control` is `/dev/mapper/control`. Returns N of `/dev/dm-N`.
pub(crate) fn create_crypt(
    control: &File,
    name: &str,
    sectors: u64,
    parameters: &str,
) -> io::Result<u32> {
    let mut request = mapper_request(name)?;
    // SAFETY: each of the three ioctls reads and writes `data_size` bytes from
    // the header on, which is the size of the whole request.
    unsafe { ioctl(control, Updater::<DM_DEV_CREATE, _>::new(&mut request)) }?;
    // The kernel's new_encode_dev: the low 8 bits of the minor number come
    // first, the others above the major number's 12 bits.
    let device = request.header.device;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);

    let mut request = mapper_request(name)?;
    request.header.target_count = 1;
    request.length = sectors;
    request.kind[..5].copy_from_slice(b"crypt");
    match request.parameters.get_mut(..parameters.len()) {
        // One byte stays zero: the kernel wants a C string.
        Some(bytes) if parameters.len() < PARAMETER_BYTES => {
            bytes.copy_from_slice(parameters.as_bytes());
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    // SAFETY: as above.
    let loaded = unsafe { ioctl(control, Updater::<DM_TABLE_LOAD, _>::new(&mut request)) };
    request.parameters.zeroize();
    loaded?;

    // DM_DEV_SUSPEND without the suspend flag resumes.
    let mut request = mapper_request(name)?;
    // SAFETY: as above.
    unsafe { ioctl(control, Updater::<DM_DEV_SUSPEND, _>::new(&mut request)) }?;
    Ok(u32::try_from(minor).unwrap_or(0))
}
