/** A device for the length of a command. */
import { AdapterError, createDevice, type Device, type DeviceOptions } from '@revisual/tensor'
import { UserError } from '../errors.js'

/** Opens a device: the first one, or another after that was lost. */
export type OpenDevice = () => Promise<Device>

/**
 * Runs `body` with a way to open devices and gives back all it opened, whatever happens.
 * @throws {UserError} when there is no adapter.
 */
export async function withDevices<Result>(
  options: DeviceOptions,
  body: (open: OpenDevice) => Promise<Result>,
): Promise<Result> {
  const devices: Device[] = []
  const open = async () => {
    try {
      const device = await createDevice(options)
      devices.push(device)
      return device
    } catch (error) {
      if (error instanceof AdapterError) throw new UserError(`${error.message} 'revisual doctor' says more.`)
      throw error
    }
  }
  try {
    return await body(open)
  } finally {
    for (const device of devices) device.destroy()
  }
}

/** Runs `body` with one device. */
export async function withDevice<Result>(body: (device: Device) => Promise<Result>): Promise<Result> {
  return withDevices({}, async (open) => body(await open()))
}

/** What an adapter is called in summaries and reports. */
export function adapterName({ info }: Device): string {
  return info.description || info.device || `${info.vendor} ${info.architecture}`.trim() || 'unnamed adapter'
}
