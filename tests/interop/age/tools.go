//go:build tools

// Package tools names the program that tests build from this module: age itself.
package tools

import _ "filippo.io/age/cmd/age"
