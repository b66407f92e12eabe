// SPDX-License-Identifier: BSD-2-Clause
/*
 * Seed of the random number generator, from the BCM2837's hardware generator.
 * Takes the place of the weak function in core/tee/tee_cryp_utl.c.
 *
 * The generator is no secret of the secure world: Linux uses it too, and could
 * stop it, but only after OP-TEE has taken its seed. It is not documented what
 * the generator measures, so four times as much is taken as the seed needs, and
 * OP-TEE hashes it.
 */
#include <crypto/crypto.h>
#include <initcall.h>
#include <io.h>
#include <kernel/delay.h>
#include <kernel/panic.h>
#include <mm/core_memprot.h>
#include <mm/core_mmu.h>
#include <string_ext.h>
#include <tee/tee_cryp_utl.h>
#include <util.h>

#define RNG_BASE		0x3f104000
#define RNG_SIZE		0x1000

#define RNG_CTRL		0x0
#define RNG_CTRL_ENABLE		BIT32(0)
#define RNG_STATUS		0x4
#define RNG_STATUS_WORDS_SHIFT	24
#define RNG_DATA		0x8
#define RNG_INT_MASK		0x10
#define RNG_INT_MASK_OFF	BIT32(0)

/* The first numbers are less random; the generator drops this many itself */
#define WARMUP_WORDS		0x40000
/* Far longer than the warm-up takes */
#define WAIT_US			10000000
#define SEED_WORDS		32

register_phys_mem(MEM_AREA_IO_SEC, RNG_BASE, RNG_SIZE);

static uint32_t random_word(vaddr_t base)
{
	uint64_t end = timeout_init_us(WAIT_US);

	while (!(io_read32(base + RNG_STATUS) >> RNG_STATUS_WORDS_SHIFT))
		if (timeout_elapsed(end))
			panic("The hardware generator gives no random numbers");

	return io_read32(base + RNG_DATA);
}

void plat_rng_init(void)
{
	uint32_t seed[SEED_WORDS] = { };
	vaddr_t base = core_mmu_get_va(RNG_BASE, MEM_AREA_IO_SEC, RNG_SIZE);
	size_t n = 0;

	if (!base)
		panic("The hardware generator is not mapped");

	io_setbits32(base + RNG_INT_MASK, RNG_INT_MASK_OFF);
	io_write32(base + RNG_STATUS, WARMUP_WORDS);
	io_setbits32(base + RNG_CTRL, RNG_CTRL_ENABLE);

	for (n = 0; n < SEED_WORDS; n++) {
		seed[n] = random_word(base);
		/* A bus that answers nothing answers the same at every read */
		if (n && seed[n] == seed[n - 1])
			panic("The hardware generator repeats itself");
	}

	if (crypto_rng_init(seed, sizeof(seed)))
		panic("The random number generator does not start");
	memzero_explicit(seed, sizeof(seed));
}
