/** Stands in for the image decoder in the bundle; no case decodes an image. */
export default function sharp() {
  throw new Error('The benchmark decodes no images.')
}
