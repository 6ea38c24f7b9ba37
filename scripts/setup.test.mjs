import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { missingDependencies } from './dependencies.mjs'
import { driverPlan, parseOsRelease } from './driver-plan.mjs'

test('os-release is parsed with and without quotes', () => {
  const os = parseOsRelease('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n# a comment\n')
  assert.deepEqual(os, { PRETTY_NAME: 'Debian GNU/Linux 12 (bookworm)', ID: 'debian', VERSION_ID: '12' })
})

test('Debian 12 takes Mesa from backports, and adds the source once', () => {
  const bookworm = { ID: 'debian', VERSION_ID: '12' }
  const bare = driverPlan(bookworm)
  assert.equal(bare.automatic, true)
  assert.match(bare.commands[0] ?? '', /bookworm-backports main' > \/etc\/apt\/sources\.list\.d\//)
  assert.match(bare.commands.at(-1) ?? '', /-t bookworm-backports mesa-vulkan-drivers libvulkan1$/)
  assert.equal(driverPlan(bookworm, { hasBackports: true }).commands.length, bare.commands.length - 1)
})

test('Debian 13, sid and Ubuntu 24.04 take plain apt', () => {
  for (const os of [{ ID: 'debian', VERSION_ID: '13' }, { ID: 'debian' }, { ID: 'ubuntu', VERSION_ID: '24.04' }]) {
    const plan = driverPlan(os)
    assert.equal(plan.automatic, true)
    assert.deepEqual(plan.commands, [
      'apt-get update',
      'apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1',
    ])
  }
})

test('other systems get a command to run by hand', () => {
  const cases = [
    [{ ID: 'ubuntu', VERSION_ID: '22.04' }, /kisak/],
    [{ ID: 'debian', VERSION_ID: '11' }, /too old/],
    [{ ID: 'fedora', VERSION_ID: '42' }, /^dnf install/],
    [{ ID: 'rocky', ID_LIKE: 'rhel centos fedora' }, /^dnf install/],
    [{ ID: 'arch' }, /^pacman -S/],
    [{ ID: 'linuxmint', ID_LIKE: 'ubuntu debian' }, /mesa-vulkan-drivers/],
    [{ ID: 'alpine' }, /musl/],
    [{}, /package manager/],
  ]
  for (const [os, expected] of cases) {
    const plan = driverPlan(os)
    assert.equal(plan.automatic, false)
    assert.match(plan.commands.join('\n'), expected)
  }
})

test('missing, outdated and unlinked dependencies are found; other platforms are not missed', () => {
  const root = mkdtempSync(join(tmpdir(), 'revisual-setup-'))
  const lock = (packages) => JSON.stringify({ packages })
  try {
    const wanted = {
      '': {},
      'packages/a': { version: '0.0.0' },
      'node_modules/a': { link: true, resolved: 'packages/a' },
      'node_modules/b': { version: '2.0.0' },
      'node_modules/only-windows': { version: '1.0.0', optional: true },
    }
    writeFileSync(join(root, 'package-lock.json'), lock(wanted))
    assert.deepEqual(missingDependencies(root), ['node_modules'])

    mkdirSync(join(root, 'node_modules', 'b'), { recursive: true })
    const installed = join(root, 'node_modules', '.package-lock.json')
    writeFileSync(installed, lock({ 'node_modules/a': { link: true }, 'node_modules/b': { version: '1.0.0' } }))
    assert.deepEqual(missingDependencies(root), ['node_modules/a@workspace', 'node_modules/b@2.0.0'])

    mkdirSync(join(root, 'node_modules', 'a'))
    writeFileSync(installed, lock({ 'node_modules/a': { link: true }, 'node_modules/b': { version: '2.0.0' } }))
    assert.deepEqual(missingDependencies(root), [])
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})
