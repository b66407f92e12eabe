// SPDX-License-Identifier: BSD-2-Clause
/*
 * The counter of an emulated device over a flash that loses power in each of
 * its operations, or fails in it.
 */
#include "../flash_counter.c"

#include <setjmp.h>
#include <stdlib.h>

#define WORD_COUNT	(FLASH_SIZE / sizeof(uint32_t))
#define FORMER_WORD	(BLOCK_COUNT * BLOCK_SIZE / sizeof(uint32_t))

/* What an operation that ends early leaves undone */
static const uint32_t tears[] = { 0xffffffff, 0xffff, 0xffff0000, 0xaaaaaaaa,
				  0x55555555, 0x80000000, 1, 0 };

static uint32_t flash[WORD_COUNT];
static uint32_t command = READ_ARRAY;
static uint32_t status;

enum end { WHOLE, CUT, FAILS };

static unsigned int operations;
static unsigned int end_operation;
static enum end end_kind;
static uint32_t end_tear;
static jmp_buf power_cut;

static unsigned long cases;

#define CHECK(condition) check(condition, #condition, __LINE__)

static void check(bool condition, const char *text, int line)
{
	if (condition)
		return;
	fprintf(stderr, "flash_test.c:%d: %s; operation %u, end %d, %#x\n",
		line, text, end_operation, end_kind, end_tear);
	exit(1);
}

void *phys_to_virt_io(paddr_t pa, size_t len)
{
	CHECK(pa == COUNTER_BASE && len == FLASH_SIZE);

	return flash;
}

static void program(uint32_t *word, uint32_t value, uint32_t undone)
{
	*word &= value | undone;
}

static void erase(size_t at, uint32_t undone)
{
	size_t words = BLOCK_SIZE / sizeof(uint32_t);
	size_t first = at / words * words;
	size_t n = 0;

	for (n = first; n < first + words; n++)
		flash[n] |= ~undone;
}

uint32_t io_read32(vaddr_t va)
{
	return command == READ_ARRAY ? *(uint32_t *)va : status;
}

void io_write32(vaddr_t va, uint32_t value)
{
	uint32_t *word = (uint32_t *)va;
	uint32_t undone = 0;
	enum end end = WHOLE;

	if (command != PROGRAM_WORD && command != ERASE_BLOCK) {
		command = value;
		if (command == CLEAR_STATUS)
			status = 0;
		return;
	}

	if (end_kind != WHOLE && operations++ == end_operation) {
		end = end_kind;
		undone = end_tear;
		end_kind = WHOLE;
	}
	if (command == PROGRAM_WORD)
		program(word, value, undone);
	else
		erase(word - flash, undone);
	command = READ_ARRAY + 1;
	status = STATUS_READY | (end == FAILS ? STATUS_FAILED : 0);
	if (end == CUT)
		longjmp(power_cut, 1);
}

static void restart(void)
{
	command = READ_ARRAY;
	counter_mutex = (struct mutex)MUTEX_INITIALIZER;
	counter_known = false;
}

static void erase_flash(void)
{
	memset(flash, 0xff, sizeof(flash));
	restart();
}

static const uint8_t *hash_of(uint32_t value)
{
	static uint8_t hash[TEE_SHA256_HASH_SIZE];

	memset(hash, 0, sizeof(hash));
	memcpy(hash, &value, sizeof(value));
	memcpy(hash + sizeof(hash) - sizeof(value), &value, sizeof(value));

	return hash;
}

static TEE_Result set(uint32_t value)
{
	return nv_counter_set_ree_fs(value, hash_of(value));
}

/* The counter, which has its own hash */
static uint32_t get(void)
{
	uint8_t hash[TEE_SHA256_HASH_SIZE] = { };
	uint32_t value = 0;

	CHECK(!nv_counter_get_ree_fs(&value));
	CHECK(!nv_counter_get_ree_fs_hash(hash));
	CHECK(!memcmp(hash, hash_of(value), sizeof(hash)));

	return value;
}

static void must_be_without_hash(uint32_t expected)
{
	uint8_t hash[TEE_SHA256_HASH_SIZE] = { };
	uint32_t value = ~expected;

	CHECK(!nv_counter_get_ree_fs(&value));
	CHECK(value == expected);
	CHECK(nv_counter_get_ree_fs_hash(hash) == TEE_ERROR_ITEM_NOT_FOUND);
}

static void must_be_damaged(void)
{
	uint8_t hash[TEE_SHA256_HASH_SIZE] = { };
	uint32_t value = 0;

	restart();
	CHECK(nv_counter_get_ree_fs(&value) == TEE_ERROR_SECURITY);
	CHECK(nv_counter_get_ree_fs_hash(hash) == TEE_ERROR_SECURITY);
	CHECK(set(1000) == TEE_ERROR_SECURITY);
}

static void arm(enum end kind, unsigned int operation, uint32_t tear)
{
	operations = 0;
	end_operation = operation;
	end_kind = kind;
	end_tear = tear;
}

/* Returns whether so many operations were needed; the power failed in the last */
static bool set_ending(uint32_t value, enum end kind, unsigned int operation,
		       uint32_t tear)
{
	bool reached = false;
	TEE_Result res = TEE_SUCCESS;

	arm(kind, operation, tear);
	if (setjmp(power_cut)) {
		restart();
		return true;
	}
	res = set(value);
	reached = end_kind == WHOLE;
	end_kind = WHOLE;
	CHECK(!res == !reached);

	return reached;
}

/* From the flash as it is, which holds @value */
static void each_end(uint32_t value)
{
	static uint32_t saved[WORD_COUNT];
	unsigned int operation = 0;
	enum end kind = CUT;
	size_t n = 0;

	memcpy(saved, flash, sizeof(flash));
	for (kind = CUT; kind <= FAILS; kind++) {
		for (n = 0; n < ARRAY_SIZE(tears); n++) {
			for (operation = 0;; operation++) {
				uint32_t found = 0;

				memcpy(flash, saved, sizeof(flash));
				restart();
				cases++;
				if (!set_ending(value + 1, kind, operation,
						tears[n]))
					break;
				found = get();
				CHECK(found == value || found == value + 1);
				restart();
				CHECK(get() == found);
				CHECK(!set(value + 2));
				restart();
				CHECK(get() == value + 2);
			}
			CHECK(operation >= RECORD_WORDS);
		}
	}
	memcpy(flash, saved, sizeof(flash));
	restart();
}

static void a_new_device_has_no_hash_and_counts_up(void)
{
	erase_flash();
	must_be_without_hash(0);
	CHECK(!set(1));
	CHECK(get() == 1);
	CHECK(set(1) == TEE_ERROR_SECURITY);
	CHECK(!set(5));
	CHECK(set(4) == TEE_ERROR_SECURITY);
	restart();
	CHECK(get() == 5);
	CHECK(set(5) == TEE_ERROR_SECURITY);
	each_end(5);
}

static void the_first_record_may_be_broken_off(void)
{
	unsigned int n = 0;

	erase_flash();
	for (n = 0; n < FIRST_RECORDS_LIMIT; n++) {
		CHECK(set_ending(1, CUT, n % RECORD_WORDS, tears[1 + n % 7]));
		if (!nv_counter_get_ree_fs_hash((uint8_t[32]){ }))
			break;
		must_be_without_hash(0);
	}
	CHECK(n > 1);
	CHECK(!set(2));
	CHECK(get() == 2);

	erase_flash();
	for (n = 0; n < FIRST_RECORDS_LIMIT; n++)
		CHECK(set_ending(1, CUT, 0, 1));
	must_be_without_hash(0);
	CHECK(set_ending(1, CUT, 0, 1));
	must_be_damaged();

	/* For a value that no new device gets to */
	erase_flash();
	CHECK(set_ending(0x1337, CUT, RECORD_WORDS - 1, 1));
	must_be_damaged();
	memset(flash, 0, sizeof(flash));
	must_be_damaged();
}

static void a_full_log_goes_on_in_the_other_block(void)
{
	uint32_t value = 0;
	unsigned int round = 0;

	erase_flash();
	must_be_without_hash(0);
	for (round = 0; round < 3; round++) {
		while (next_record < RECORD_COUNT)
			CHECK(!set(++value));
		each_end(value);
		CHECK(!set(++value));
		CHECK(next_record == 1);
	}
	each_end(value);
}

/* @rest: what is in the blocks that former images knew nothing of */
static void former_counters_are_read(uint8_t rest)
{
	size_t former = FORMER_WORD;

	erase_flash();
	memset(flash, rest, BLOCK_COUNT * BLOCK_SIZE);
	/* The largest, in the second block, and one that was broken off */
	flash[former] = 6;
	flash[former + 1] = ~6U;
	former += BLOCK_SIZE / sizeof(uint32_t);
	flash[former] = 0x1337;
	flash[former + 1] = ~0x1337U;
	flash[former + 2] = 0x1338;
	flash[former + 3] = ~0U;
	must_be_without_hash(0x1337);
	CHECK(set(0x1336) == TEE_ERROR_SECURITY);
	if (rest == 0xff) {
		CHECK(set_ending(0x1337, CUT, RECORD_WORDS - 1, 1));
		must_be_without_hash(0x1337);
	}
	CHECK(!set(0x1337));
	CHECK(set(0x1337) == TEE_ERROR_SECURITY);
	restart();
	CHECK(get() == 0x1337);
	each_end(0x1337);
}

int main(void)
{
	a_new_device_has_no_hash_and_counts_up();
	the_first_record_may_be_broken_off();
	a_full_log_goes_on_in_the_other_block();
	former_counters_are_read(0xff);
	former_counters_are_read(0);
	printf("%lu flash operations cut off or failed\n", cases);

	return 0;
}
