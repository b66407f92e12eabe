// SPDX-License-Identifier: BSD-2-Clause
/*
 * Monotonic counter of an emulated device, in the secure world's flash.
 *
 * OP-TEE's file system in the normal world reads counter and hash whenever it
 * opens its directory, and sets them at every change: the directory with that
 * hash opens, and no other. Takes the place of the weak functions in
 * core/kernel/nv_counter.c. A vendor implements the same three over what his
 * board has.
 *
 * QEMU's virt machine with secure=on shows its first flash to the secure world
 * alone. It is two 16-bit chips side by side with the Intel command set. Two
 * erase blocks are logs of records: the hash, the value and its complement,
 * programmed in this order, each word when the one before is programmed. So a
 * record whose complement is whole is whole. The record with the largest value
 * counts. A full log is continued in the other block, which is erased before:
 * until its first record is whole, the full one has the largest value. So a
 * power cut at any instant leaves the record from before or the new one, and
 * costs a record's place at most.
 *
 * 6,553 records fill a block. At 100,000 erasures the two blocks bear 1.3
 * billion changes of secure storage.
 *
 * The two blocks behind, the last ones, hold the logs of former images: values
 * and complements without a hash. They are read where there is no record of the
 * present form, and never written. The first directory opened with at least
 * their value gets a record with its hash.
 */
#include <initcall.h>
#include <io.h>
#include <kernel/mutex.h>
#include <kernel/nv_counter.h>
#include <mm/core_memprot.h>
#include <mm/core_mmu.h>
#include <string.h>
#include <tee_api_defines.h>
#include <trace.h>
#include <utee_defines.h>
#include <util.h>

#define BLOCK_SIZE		0x40000U
#define BLOCK_COUNT		2U
#define COUNTER_BASE		(FORMER_BASE - BLOCK_COUNT * BLOCK_SIZE)
#define FORMER_BASE		(0x04000000U - BLOCK_COUNT * BLOCK_SIZE)
#define FLASH_SIZE		(2 * BLOCK_COUNT * BLOCK_SIZE)

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

#define HASH_WORDS		(TEE_SHA256_HASH_SIZE / sizeof(uint32_t))
#define RECORD_WORDS		(HASH_WORDS + 2)

struct record {
	union {
		uint32_t words[RECORD_WORDS];
		struct {
			uint32_t hash[HASH_WORDS];
			uint32_t value;
			uint32_t complement;
		};
	};
};

#define RECORD_COUNT		(BLOCK_SIZE / sizeof(struct record))
/* A value and its complement */
#define FORMER_COUNT		(BLOCK_COUNT * BLOCK_SIZE / \
				 (2 * sizeof(uint32_t)))

/*
 * How often the power may go before a new device has its first whole record,
 * and the largest value that such a device has got to meanwhile.
 */
#define FIRST_RECORDS_LIMIT	256U
#define FIRST_VALUES		0xffU

register_phys_mem(MEM_AREA_IO_SEC, COUNTER_BASE, FLASH_SIZE);

static struct mutex counter_mutex = MUTEX_INITIALIZER;
/* What the flash holds, once it was read, and where the next record goes */
static bool counter_known;
static uint32_t counter;
static bool hash_known;
static uint8_t counter_hash[TEE_SHA256_HASH_SIZE];
static size_t active_block;
static size_t next_record;

static vaddr_t flash_address(size_t offset)
{
	return (vaddr_t)phys_to_virt_io(COUNTER_BASE, FLASH_SIZE) + offset;
}

static vaddr_t record_address(size_t block, size_t index)
{
	return flash_address(block * BLOCK_SIZE +
			     index * sizeof(struct record));
}

static struct record read_record(size_t block, size_t index)
{
	vaddr_t va = record_address(block, index);
	struct record r = { };
	size_t n = 0;

	for (n = 0; n < RECORD_WORDS; n++)
		r.words[n] = io_read32(va + n * sizeof(uint32_t));

	return r;
}

static bool is_erased(const struct record *r)
{
	size_t n = 0;

	for (n = 0; n < RECORD_WORDS; n++)
		if (r->words[n] != ERASED)
			return false;

	return true;
}

static bool is_whole(const struct record *r)
{
	return r->complement == ~r->value;
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

static bool write_record(size_t block, size_t index, const struct record *r)
{
	vaddr_t va = record_address(block, index);
	size_t n = 0;

	for (n = 0; n < RECORD_WORDS; n++, va += sizeof(uint32_t))
		if (!operate(va, PROGRAM_WORD, r->words[n]) ||
		    io_read32(va) != r->words[n])
			return false;

	return true;
}

/* Where no record was ever begun from here to the block's end */
static size_t find_end(size_t block)
{
	size_t n = RECORD_COUNT;

	for (; n; n--) {
		struct record r = read_record(block, n - 1);

		if (!is_erased(&r))
			break;
	}

	return n;
}

/*
 * Writing clears bits, so a record that a power cut broke off has all bits that
 * its value or its complement has. The complement of a small value has all high
 * bits: one that lacks some was begun for a value that no new device gets to.
 */
static bool is_broken_off_early(uint32_t complement)
{
	return (complement | FIRST_VALUES) == ERASED;
}

/* Whether nothing but power cuts kept a new device from its first record */
static bool is_new(void)
{
	size_t end = find_end(0);
	size_t n = 0;

	if (end > FIRST_RECORDS_LIMIT || find_end(1))
		return false;
	for (n = 0; n < end; n++)
		if (!is_broken_off_early(read_record(0, n).complement))
			return false;

	return true;
}

/* The largest value in the logs of former images, where they have one */
static bool find_former(void)
{
	const size_t words = 2 * sizeof(uint32_t);
	vaddr_t va = flash_address(FORMER_BASE - COUNTER_BASE);
	bool found = false;
	size_t n = 0;

	for (n = 0; n < FORMER_COUNT; n++, va += words) {
		uint32_t value = io_read32(va);

		if (io_read32(va + sizeof(value)) != ~value ||
		    (found && value < counter))
			continue;
		found = true;
		counter = value;
	}

	return found;
}

static TEE_Result find_counter(void)
{
	size_t block = 0;
	size_t n = 0;

	hash_known = false;
	for (block = 0; block < BLOCK_COUNT; block++) {
		size_t end = find_end(block);

		for (n = 0; n < end; n++) {
			struct record r = read_record(block, n);

			if (!is_whole(&r) ||
			    (hash_known && r.value < counter))
				continue;
			hash_known = true;
			counter = r.value;
			memcpy(counter_hash, r.hash, sizeof(r.hash));
			active_block = block;
			next_record = end;
		}
	}
	if (hash_known)
		return TEE_SUCCESS;

	active_block = 0;
	next_record = find_end(0);
	if (find_former())
		return TEE_SUCCESS;

	/*
	 * A new device has nothing in its flash, or first records that power
	 * cuts broke off. Whatever else has no whole record is damaged: zero
	 * would let every old directory in.
	 */
	counter = 0;
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

static TEE_Result append(const struct record *r)
{
	/* After a failure the flash may hold the record: it is read again */
	counter_known = false;

	if (next_record == RECORD_COUNT) {
		size_t other = (active_block + 1) % BLOCK_COUNT;

		if (!operate(record_address(other, 0), ERASE_BLOCK,
			     ERASE_CONFIRM))
			return TEE_ERROR_STORAGE_NOT_AVAILABLE;
		active_block = other;
		next_record = 0;
	}

	if (!write_record(active_block, next_record, r))
		return TEE_ERROR_STORAGE_NOT_AVAILABLE;

	next_record++;
	counter = r->value;
	memcpy(counter_hash, r->hash, sizeof(r->hash));
	hash_known = true;
	counter_known = true;

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

TEE_Result nv_counter_get_ree_fs_hash(uint8_t *hash)
{
	TEE_Result res = TEE_SUCCESS;

	mutex_lock(&counter_mutex);
	res = know_counter();
	if (!res && !hash_known)
		res = TEE_ERROR_ITEM_NOT_FOUND;
	if (!res)
		memcpy(hash, counter_hash, sizeof(counter_hash));
	mutex_unlock(&counter_mutex);

	return res;
}

TEE_Result nv_counter_set_ree_fs(uint32_t value, const uint8_t *hash)
{
	struct record r = { .value = value, .complement = ~value };
	TEE_Result res = TEE_SUCCESS;

	memcpy(r.hash, hash, sizeof(r.hash));

	mutex_lock(&counter_mutex);
	res = know_counter();
	if (!res && (value < counter || (value == counter && hash_known)))
		res = TEE_ERROR_SECURITY;
	if (!res)
		res = append(&r);
	mutex_unlock(&counter_mutex);

	return res;
}
