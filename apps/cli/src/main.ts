#!/usr/bin/env node
import { runCommandLine } from './command-line.js'

process.exitCode = await runCommandLine(process.argv)
// Everything is closed by now and the process ends by itself. Should a driver keep it alive, it is ended.
setTimeout(() => process.exit(), 3000).unref()
