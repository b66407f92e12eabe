// SPDX-License-Identifier: BSD-2-Clause
/*
 * OP-TEE's REE file system with a way to lose its memory.
 */
#include <tee_ree_fs.c>

#include "world.h"

void ree_fs_restart(void)
{
	ree_fs_mutex = (struct mutex)MUTEX_INITIALIZER;
	ree_fs_dirh = NULL;
	ree_fs_dirh_refcount = 0;
#ifdef CFG_REE_FS_INTEGRITY_RPMB
	ree_fs_rpmb_fh = NULL;
#endif
}
