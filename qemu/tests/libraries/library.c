// SPDX-License-Identifier: BSD-2-Clause
/* A library that says which one it is */

#include <library.h>

int library_value(void)
{
	return LIBRARY_VALUE;
}
