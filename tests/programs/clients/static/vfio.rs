// SPDX-License-Identifier: BSD-3-Clause
//! A VFIO client in Rust with its standard library alone: an edu device copies a page of a Vec into itself and back,
//! with an interrupt each time.
//!
//! usage: vfio BDF
use std::ffi::{c_void, CString};
use std::fs::{read_dir, read_link, File, OpenOptions};
use std::io::{Error, Read, Result};
use std::os::raw::{c_int, c_ulong};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::os::unix::io::{AsRawFd, FromRawFd};
use std::ptr::{null_mut, read_volatile, write_volatile};

extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn mmap(at: *mut c_void, bytes: usize, prot: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    fn munmap(at: *mut c_void, bytes: usize) -> c_int;
    fn eventfd(value: u32, flags: c_int) -> c_int;
}

const VFIO: c_ulong = (b';' as c_ulong) << 8 | 100;
const SET_IOMMU: c_ulong = VFIO + 2;
const GROUP_SET_CONTAINER: c_ulong = VFIO + 4;
const GROUP_GET_DEVICE_FD: c_ulong = VFIO + 6;
const GET_REGION_INFO: c_ulong = VFIO + 8;
const SET_IRQS: c_ulong = VFIO + 10;
const MAP_DMA: c_ulong = VFIO + 13;
const PAGE: usize = 4096;
const IOVA: u64 = 0x100000;
const EDU_BUFFER: u64 = 0x40000;

#[repr(C)]
struct RegionInfo {
    argsz: u32,
    flags: u32,
    index: u32,
    cap_offset: u32,
    size: u64,
    offset: u64,
}

#[repr(C)]
struct DmaMap {
    argsz: u32,
    flags: u32,
    vaddr: u64,
    iova: u64,
    size: u64,
}

fn call<T>(file: &File, request: c_ulong, argument: *const T) -> Result<c_int> {
    match unsafe { ioctl(file.as_raw_fd(), request, argument) } {
        result if result < 0 => Err(Error::last_os_error()),
        result => Ok(result),
    }
}

fn open(path: &str) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    assert!(file.metadata()?.file_type().is_char_device(), "{path} is a character device");
    Ok(file)
}

fn region(device: &File, index: u32) -> Result<RegionInfo> {
    let info = RegionInfo { argsz: 32, flags: 0, index, cap_offset: 0, size: 0, offset: 0 };
    call(device, GET_REGION_INFO, &info)?;
    Ok(unsafe { read_volatile(&info) })
}

fn transfer(at: *mut u8, event: &mut File, source: u64, target: u64, direction: u64) -> Result<()> {
    let mut count = [0u8; 8];
    unsafe {
        write_volatile(at.add(0x80) as *mut u64, source);
        write_volatile(at.add(0x88) as *mut u64, target);
        write_volatile(at.add(0x90) as *mut u64, PAGE as u64);
        write_volatile(at.add(0x98) as *mut u64, 1 | 4 | direction);
    }
    event.read_exact(&mut count)?;
    unsafe { write_volatile(at.add(0x64) as *mut u32, read_volatile(at.add(0x24) as *const u32)) };
    Ok(())
}

fn main() -> Result<()> {
    let bdf = std::env::args().nth(1).expect("a device");
    assert!(read_dir("/sys/bus/pci/devices")?.any(|entry| entry.unwrap().file_name() == bdf[..]));
    let group = read_link(format!("/sys/bus/pci/devices/{bdf}/iommu_group"))?;
    let container = open("/dev/vfio/vfio")?;
    let group = open(&format!("/dev/vfio/{}", group.file_name().unwrap().to_str().unwrap()))?;
    call(&group, GROUP_SET_CONTAINER, &container.as_raw_fd())?;
    call(&container, SET_IOMMU, 3 as *const u8)?;
    let name = CString::new(bdf).unwrap();
    let device = unsafe { File::from_raw_fd(call(&group, GROUP_GET_DEVICE_FD, name.as_ptr())?) };

    let block = vec![0u8; 3 * PAGE];
    let memory = (block.as_ptr() as usize + PAGE - 1) / PAGE * PAGE;
    let bytes = |page: usize| unsafe { std::slice::from_raw_parts_mut((memory + page * PAGE) as *mut u8, PAGE) };
    for (i, byte) in bytes(0).iter_mut().enumerate() {
        *byte = (i * 7 + 1) as u8;
    }
    let map = DmaMap { argsz: 32, flags: 3, vaddr: memory as u64, iova: IOVA, size: 2 * PAGE as u64 };
    call(&container, MAP_DMA, &map)?;

    let config = region(&device, 7)?;
    device.write_all_at(&6u16.to_le_bytes(), config.offset + 4)?;
    let bar = region(&device, 0)?;
    let at = unsafe { mmap(null_mut(), bar.size as usize, 3, 1, device.as_raw_fd(), bar.offset as i64) } as *mut u8;
    assert!(at as isize != -1, "mmap of BAR 0: {}", Error::last_os_error());
    let mut event = unsafe { File::from_raw_fd(eventfd(0, 0)) };
    let irq: [u32; 6] = [24, 1 << 2 | 1 << 5, 1, 0, 1, event.as_raw_fd() as u32];
    call(&device, SET_IRQS, &irq)?;
    transfer(at, &mut event, IOVA, EDU_BUFFER, 0)?;
    transfer(at, &mut event, EDU_BUFFER, IOVA + PAGE as u64, 2)?;
    assert!(bytes(0) == bytes(1), "the copy differs");
    assert_eq!(unsafe { munmap(at as *mut c_void, bar.size as usize) }, 0);
    println!("vfio.rs: copied 4096 bytes");
    Ok(())
}
