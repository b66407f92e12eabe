// SPDX-License-Identifier: BSD-2-Clause
/*
 * Monotonic counter of an emulated device, in the secure world's flash.
 *
 * OP-TEE's file system in the normal world asks for it whenever it opens its
 * directory, and raises it at every change: an older directory does not open,
 * nor does a missing one. Takes the place of the weak functions in
 * core/kernel/nv_counter.c. A vendor implements the same two over what his
 * board has.
 *
 * QEMU's virt machine with secure=on shows its first flash to the secure world
 * alone. It is two 16-bit chips side by side with the Intel command set. The
 * last two erase blocks are logs of records: a value and its complement. The
 * counter is the largest value of any whole record. A full log is continued in
 * the other block, which is erased before: until its first record is whole, the
 * full one has the largest value. So a power cut at any instant leaves the value
 * from before or the new one, and costs a record at most.
 */
#include <initcall.h>
#include <io.h>
#include <kernel/mutex.h>
#include <kernel/nv_counter.h>
#include <mm/core_memprot.h>
#include <mm/core_mmu.h>
#include <tee_api_defines.h>
#include <trace.h>

#define BLOCK_SIZE		0x40000U
#define BLOCK_COUNT		2U
#define COUNTER_BASE		(0x04000000U - BLOCK_COUNT * BLOCK_SIZE)

/* A command goes to both chips, and both answer */
#define BOTH(command)		((command) * 0x00010001U)
#define READ_ARRAY		BOTH(0xffU)
#define PROGRAM_WORD		BOTH(0x40U)
#define ERASE_BLOCK		BOTH(0x20U)
#define ERASE_CONFIRM		BOTH(0xd0U)
#define CLEAR_STATUS		BOTH(0x50U)
#define STATUS_READY		BOTH(0x80U)
#define STATUS_FAILED		BOTH(0x3aU)
/* An erased block takes a second in real chips */
#define POLL_LIMIT		10000000U

#define ERASED			0xffffffffU

struct record {
	uint32_t value;
	uint32_t complement;
};

#define RECORD_COUNT		(BLOCK_SIZE / sizeof(struct record))

/*
 * How often the power may go before a new device has its first whole record,
 * and the largest value that such a device has got to meanwhile.
 */
#define FIRST_RECORDS_LIMIT	256U
#define FIRST_VALUES		0xffU

register_phys_mem(MEM_AREA_IO_SEC, COUNTER_BASE, BLOCK_COUNT * BLOCK_SIZE);

static struct mutex counter_mutex = MUTEX_INITIALIZER;
/* What the flash holds, once it was read, and where the next record goes */
static bool counter_known;
static uint32_t counter;
static size_t active_block;
static size_t next_record;

static vaddr_t record_address(size_t block, size_t index)
{
	vaddr_t base = (vaddr_t)phys_to_virt_io(COUNTER_BASE,
						BLOCK_COUNT * BLOCK_SIZE);

	return base + block * BLOCK_SIZE + index * sizeof(struct record);
}

static struct record read_record(size_t block, size_t index)
{
	vaddr_t va = record_address(block, index);

	return (struct record){
		.value = io_read32(va),
		.complement = io_read32(va + sizeof(uint32_t)),
	};
}

static bool is_erased(struct record r)
{
	return r.value == ERASED && r.complement == ERASED;
}

static bool is_whole(struct record r)
{
	return r.complement == ~r.value;
}

/* Two writes start an operation; ends with the flash readable again */
static bool operate(vaddr_t va, uint32_t command, uint32_t argument)
{
	uint32_t status = 0;
	size_t n = 0;

	io_write32(va, CLEAR_STATUS);
	io_write32(va, command);
	io_write32(va, argument);
	for (n = 0; n < POLL_LIMIT; n++) {
		status = io_read32(va);
		if ((status & STATUS_READY) == STATUS_READY)
			break;
	}
	io_write32(va, READ_ARRAY);

	return (status & STATUS_READY) == STATUS_READY &&
	       !(status & STATUS_FAILED);
}

static bool write_record(size_t block, size_t index, uint32_t value)
{
	vaddr_t va = record_address(block, index);
	struct record r = { };

	if (!operate(va, PROGRAM_WORD, value) ||
	    !operate(va + sizeof(value), PROGRAM_WORD, ~value))
		return false;

	r = read_record(block, index);
	return is_whole(r) && r.value == value;
}

/* Where no record was ever begun from here to the block's end */
static size_t find_end(size_t block)
{
	size_t n = RECORD_COUNT;

	while (n && is_erased(read_record(block, n - 1)))
		n--;

	return n;
}

/*
 * Writing clears bits, so a record that a power cut broke off has all bits that
 * its value or its complement has. The complement of a small value has all high
 * bits: one that lacks some was begun for a value that no new device gets to.
 */
static bool is_broken_off_early(struct record r)
{
	return (r.complement | FIRST_VALUES) == ERASED;
}

/* Whether nothing but power cuts kept a new device from its first record */
static bool is_new(void)
{
	size_t end = find_end(0);
	size_t n = 0;

	if (end > FIRST_RECORDS_LIMIT || find_end(1))
		return false;
	for (n = 0; n < end; n++)
		if (!is_broken_off_early(read_record(0, n)))
			return false;

	return true;
}

static TEE_Result find_counter(void)
{
	bool found = false;
	size_t block = 0;
	size_t n = 0;

	for (block = 0; block < BLOCK_COUNT; block++) {
		size_t end = find_end(block);

		for (n = 0; n < end; n++) {
			struct record r = read_record(block, n);

			if (!is_whole(r) || (found && r.value < counter))
				continue;
			found = true;
			counter = r.value;
			active_block = block;
			next_record = end;
		}
	}
	if (found)
		return TEE_SUCCESS;

	/*
	 * A new device has nothing in its flash, or first records that power
	 * cuts broke off. Whatever else has no whole record is damaged: zero
	 * would let every old directory in.
	 */
	counter = 0;
	active_block = 0;
	next_record = find_end(0);
	if (!is_new()) {
		EMSG("The monotonic counter's flash is damaged");
		return TEE_ERROR_SECURITY;
	}

	return TEE_SUCCESS;
}

static TEE_Result know_counter(void)
{
	TEE_Result res = TEE_SUCCESS;

	if (counter_known)
		return TEE_SUCCESS;

	res = find_counter();
	counter_known = !res;

	return res;
}

static TEE_Result append(uint32_t value)
{
	if (next_record == RECORD_COUNT) {
		size_t other = (active_block + 1) % BLOCK_COUNT;

		if (!operate(record_address(other, 0), ERASE_BLOCK,
			     ERASE_CONFIRM))
			return TEE_ERROR_STORAGE_NOT_AVAILABLE;
		active_block = other;
		next_record = 0;
	}

	/* Whatever comes of it, this place is used up */
	if (!write_record(active_block, next_record++, value))
		return TEE_ERROR_STORAGE_NOT_AVAILABLE;
	counter = value;

	return TEE_SUCCESS;
}

TEE_Result nv_counter_get_ree_fs(uint32_t *value)
{
	TEE_Result res = TEE_SUCCESS;

	mutex_lock(&counter_mutex);
	res = know_counter();
	if (!res)
		*value = counter;
	mutex_unlock(&counter_mutex);

	return res;
}

TEE_Result nv_counter_incr_ree_fs_to(uint32_t value)
{
	TEE_Result res = TEE_SUCCESS;

	mutex_lock(&counter_mutex);
	res = know_counter();
	if (!res && value > counter)
		res = append(value);
	mutex_unlock(&counter_mutex);

	return res;
}
