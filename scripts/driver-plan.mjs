/**
 * Which commands give a Linux distribution a software Vulkan driver that Dawn accepts (Mesa 23.3 or later). Pure: the
 * distribution's `os-release` in, a plan out; `setup.mjs` carries it out or prints it.
 */

/** Parses the text of `/etc/os-release` into its fields. */
export function parseOsRelease(text) {
  const fields = {}
  for (const line of text.split('\n')) {
    const match = /^([A-Z_0-9]+)=(.*)$/.exec(line.trim())
    if (match) fields[match[1]] = match[2].replace(/^(['"])(.*)\1$/, '$2')
  }
  return fields
}

const PACKAGES = 'mesa-vulkan-drivers libvulkan1'
const BACKPORTS_LIST = '/etc/apt/sources.list.d/revisual-bookworm-backports.list'
const BACKPORTS_LINE = 'deb http://deb.debian.org/debian bookworm-backports main'

const apt = (name, install, before = []) => ({
  name,
  automatic: true,
  commands: [...before, 'apt-get update', `apt-get install -y --no-install-recommends ${install}`],
})

const byHand = (name, commands) => ({ name, automatic: false, commands })

/**
 * The plan for a distribution: shell commands to be run as root, in order, and whether set-up may run them itself.
 *
 * @param {Record<string, string | undefined>} os fields of os-release
 * @param {{ hasBackports?: boolean }} [facts] whether apt already knows bookworm-backports
 * @returns {{ name: string, automatic: boolean, commands: string[] }}
 */
export function driverPlan(os, { hasBackports = false } = {}) {
  const id = os.ID ?? 'linux'
  const version = Number.parseFloat(os.VERSION_ID ?? '')
  const name = os.PRETTY_NAME ?? id
  const like = new Set([id, ...(os.ID_LIKE ?? '').split(' ')])

  if (id === 'debian') {
    if (version === 12) {
      const addSource = `echo '${BACKPORTS_LINE}' > ${BACKPORTS_LIST}`
      return apt(name, `-t bookworm-backports ${PACKAGES}`, hasBackports ? [] : [addSource])
    }
    // Testing and unstable carry no VERSION_ID.
    if (version >= 13 || Number.isNaN(version)) return apt(name, PACKAGES)
    return byHand(name, ['# Mesa of this Debian release is too old: upgrade to Debian 12 or later'])
  }
  if (id === 'ubuntu') {
    if (version >= 24.04) return apt(name, PACKAGES)
    return byHand(name, [
      'add-apt-repository -y ppa:kisak/kisak-mesa',
      'apt-get update',
      `apt-get install -y ${PACKAGES}`,
    ])
  }
  if (like.has('fedora') || like.has('rhel')) return byHand(name, ['dnf install -y mesa-vulkan-drivers vulkan-loader'])
  if (like.has('arch')) return byHand(name, ['pacman -S --needed vulkan-swrast vulkan-icd-loader'])
  if (like.has('suse') || like.has('opensuse')) return byHand(name, ['zypper install -y libvulkan_lvp libvulkan1'])
  if (like.has('debian') || like.has('ubuntu')) {
    return byHand(name, ['apt-get update', `apt-get install -y ${PACKAGES}   # Mesa must be 23.3 or later`])
  }
  if (id === 'alpine') {
    return byHand(name, [
      '# The webgpu package is built for glibc and does not load on Alpine (musl): use another system',
    ])
  }
  return byHand(name, ["# Install Mesa's software Vulkan driver (lavapipe), 23.3 or later, with your package manager"])
}
