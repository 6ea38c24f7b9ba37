/** A device for the length of a command. */
import { AdapterError, createDevice, type Device } from '@revisual/tensor'
import { UserError } from '../errors.js'

/**
 * Runs `body` with a device and gives it back, whatever happens.
 * @throws {UserError} when there is no adapter.
 */
export async function withDevice<Result>(body: (device: Device) => Promise<Result>): Promise<Result> {
  let device: Device
  try {
    device = await createDevice()
  } catch (error) {
    if (error instanceof AdapterError) throw new UserError(`${error.message} 'revisual doctor' says more.`)
    throw error
  }
  try {
    return await body(device)
  } finally {
    device.destroy()
  }
}

/** What an adapter is called in summaries and reports. */
export function adapterName({ info }: Device): string {
  return info.description || info.device || `${info.vendor} ${info.architecture}`.trim() || 'unnamed adapter'
}
