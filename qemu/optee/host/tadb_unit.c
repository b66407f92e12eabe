// SPDX-License-Identifier: BSD-2-Clause
/*
 * OP-TEE's TA database with a way to lose its memory.
 */
#include <tadb.c>

#include "world.h"

void tadb_restart(void)
{
	tadb_mutex = (struct mutex)MUTEX_INITIALIZER;
	tadb_db = NULL;
	tadb_db_refc = 0;
}
