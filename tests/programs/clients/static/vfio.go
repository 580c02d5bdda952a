// SPDX-License-Identifier: BSD-3-Clause

// A VFIO client in Go, which makes its system calls without a C library: an edu device copies a page of Go's heap
// into itself and back, with an interrupt each time, while other goroutines keep the runtime busy.
//
// usage: vfio BDF
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"
)

const (
	vfioType                = ';'<<8 | 100
	getAPIVersion           = vfioType + 0
	setIOMMU                = vfioType + 2
	groupSetContainer       = vfioType + 4
	groupGetDeviceFd        = vfioType + 6
	getRegionInfo           = vfioType + 8
	setIrqs                 = vfioType + 10
	mapDma                  = vfioType + 13
	type1v2                 = 3
	readWrite               = 3
	bar0, configRegion, msi = 0, 7, 1
	eventfdTrigger          = 1<<2 | 1<<5
	page                    = 4096
	iova                    = 0x100000
	eduBuffer               = 0x40000
	command                 = 4 // of the PCI header
	memoryAndMaster         = 6
)

type regionInfo struct {
	argsz, flags, index, capOffset uint32
	size, offset                   uint64
}

func check(err error, what string) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "vfio.go:", what, err)
		os.Exit(1)
	}
}

func ioctl(file *os.File, request uintptr, argument unsafe.Pointer) uintptr {
	result, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), request, uintptr(argument))
	if errno != 0 {
		check(errno, fmt.Sprintf("ioctl %#x:", request))
	}
	return result
}

func open(path string) *os.File {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(err, path)
	return file
}

func region(device *os.File, index uint32) regionInfo {
	info := regionInfo{argsz: 32, index: index}
	ioctl(device, getRegionInfo, unsafe.Pointer(&info))
	return info
}

func interrupt(device *os.File) *os.File {
	fd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC, 0)
	if errno != 0 {
		check(errno, "eventfd")
	}
	irq := struct{ argsz, flags, index, start, count, event uint32 }{24, eventfdTrigger, msi, 0, 1, uint32(fd)}
	ioctl(device, setIrqs, unsafe.Pointer(&irq))
	return os.NewFile(fd, "eventfd")
}

func at64(registers []byte, offset uintptr) *uint64 {
	return (*uint64)(unsafe.Pointer(&registers[offset]))
}
func at32(registers []byte, offset uintptr) *uint32 {
	return (*uint32)(unsafe.Pointer(&registers[offset]))
}

func transfer(registers []byte, event *os.File, source, target, direction uint64) {
	*at64(registers, 0x80) = source
	*at64(registers, 0x88) = target
	*at64(registers, 0x90) = page
	*at64(registers, 0x98) = 1 | 4 | direction
	var count [8]byte
	_, err := event.Read(count[:])
	check(err, "the interrupt:")
	*at32(registers, 0x64) = *at32(registers, 0x24)
}

func alignedHeap(pages int) []byte {
	block := make([]byte, (pages+1)*page)
	skip := (page - int(uintptr(unsafe.Pointer(&block[0]))%page)) % page
	return block[skip : skip+pages*page]
}

func main() {
	bdf := os.Args[1]
	for i := 0; i < 2; i++ {
		go func() {
			for {
				runtime.KeepAlive(make([]byte, 100000))
				runtime.Gosched()
			}
		}()
	}
	link, err := os.Readlink("/sys/bus/pci/devices/" + bdf + "/iommu_group")
	check(err, "iommu_group:")
	container, group := open("/dev/vfio/vfio"), open("/dev/vfio/"+filepath.Base(link))
	containerFd := int32(container.Fd())
	ioctl(group, groupSetContainer, unsafe.Pointer(&containerFd))
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, container.Fd(), setIOMMU, type1v2); errno != 0 {
		check(errno, "VFIO_SET_IOMMU")
	}
	name := append([]byte(bdf), 0)
	device := os.NewFile(ioctl(group, groupGetDeviceFd, unsafe.Pointer(&name[0])), bdf)

	memory := alignedHeap(2)
	for i := range memory[:page] {
		memory[i] = byte(i*7 + 1)
	}
	dma := struct {
		argsz, flags      uint32
		vaddr, iova, size uint64
	}{32, readWrite, uint64(uintptr(unsafe.Pointer(&memory[0]))), iova, 2 * page}
	ioctl(container, mapDma, unsafe.Pointer(&dma))

	var enable [2]byte
	binary.LittleEndian.PutUint16(enable[:], memoryAndMaster)
	_, err = device.WriteAt(enable[:], int64(region(device, configRegion).offset)+command)
	check(err, "the command register:")
	bar := region(device, bar0)
	registers, err := syscall.Mmap(int(device.Fd()), int64(bar.offset), int(bar.size), syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_SHARED)
	check(err, "mmap of BAR 0:")
	event := interrupt(device)
	transfer(registers, event, iova, eduBuffer, 0)
	transfer(registers, event, eduBuffer, iova+page, 2)
	if !bytes.Equal(memory[:page], memory[page:]) {
		check(syscall.EIO, "the copy differs:")
	}
	check(syscall.Munmap(registers), "munmap:")
	fmt.Println("vfio.go: copied 4096 bytes")
}
