// SPDX-License-Identifier: BSD-2-Clause
/*
 * OP-TEE's hash tree with a way to lose its memory.
 */
#include <fs_htree.c>

#include "world.h"

void fs_htree_restart(void)
{
#ifdef CFG_REE_FS_CACHED_BLOCKS
	TAILQ_INIT(&cached_blocks);
	num_cached_blocks = 0;
	cached_blocks_mutex = (struct mutex)MUTEX_INITIALIZER;
#endif
}
