//! The messages of an Arrow IPC stream, and what a batch would take when decoded: all that is checked before
//! Arrow reads the frame. Arrow's reader trusts lengths and counts that this module has seen to.

use arrow::datatypes::{DataType, Schema};
use arrow::ipc::{
    CompressionType, MessageHeader, MetadataVersion, RecordBatch, Schema as IpcSchema, root_as_message,
};

use super::fault::ArrowFault;
use super::lz4_size;

/// Comes before the length of every message.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Before each compressed buffer stands its size when decoded, as an `i64`.
const SIZE_BYTES: usize = 8;

/// Stands there instead where a buffer is not compressed.
const NOT_COMPRESSED: i64 = -1;

/// One message.
pub(crate) struct Message<'a> {
    pub header: Header<'a>,
    pub version: MetadataVersion,
    pub body: &'a [u8],
}

/// What a message is.
#[derive(Clone, Copy)]
pub(crate) enum Header<'a> {
    Schema(IpcSchema<'a>),
    Batch(RecordBatch<'a>),
}

/// The messages up to the end of the stream, which must be the end of the frame. Ends after a fault.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub fn new(frame: &'a [u8]) -> Self {
        Self { rest: frame }
    }

    fn read(&mut self) -> Result<Option<Message<'a>>, ArrowFault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.take(4)? != CONTINUATION {
            return Err(ArrowFault::malformed("a message does not begin with 0xffffffff"));
        }
        let size = match *self.take(4)? {
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
            _ => 0,
        };
        if size == 0 {
            if self.rest.is_empty() {
                return Ok(None);
            }
            return Err(ArrowFault::malformed(format!("{} bytes follow its end", self.rest.len())));
        }
        let message = root_as_message(self.take(size)?).map_err(ArrowFault::malformed)?;
        let body = usize::try_from(message.bodyLength()).map_err(ArrowFault::malformed)?;
        let body = self.take(body)?;
        let header = match message.header_type() {
            MessageHeader::Schema => message.header_as_schema().map(Header::Schema),
            MessageHeader::RecordBatch => message.header_as_record_batch().map(Header::Batch),
            _ => None,
        };
        let header =
            header.ok_or_else(|| ArrowFault::malformed("a message is neither a schema nor a batch"))?;
        Ok(Some(Message { header, version: message.version(), body }))
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], ArrowFault> {
        let (taken, rest) =
            self.rest.split_at_checked(bytes).ok_or_else(|| ArrowFault::malformed("it is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, ArrowFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().transpose();
        if !matches!(read, Some(Ok(_))) {
            self.rest = &[];
        }
        read
    }
}

/// What the buffers of a batch take when decoded, bytes. All lengths and counts of the batch are in order after
/// this.
///
/// # Errors
/// [`ArrowFault::TooLarge`] above `limit`; [`ArrowFault::Malformed`] where lengths, counts or sizes are impossible.
pub(crate) fn decoded_bytes(
    batch: RecordBatch<'_>,
    body: &[u8],
    schema: &Schema,
    limit: usize,
) -> Result<usize, ArrowFault> {
    let shapes = shapes(batch, schema)?;
    let codec = batch.compression().map(|compression| compression.codec());
    let mut sum = 0_usize;
    for (buffer, shape) in batch.buffers().into_iter().flatten().zip(shapes) {
        let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let bytes = range
            .and_then(|(offset, length)| body.get(offset..)?.get(..length))
            .ok_or_else(|| ArrowFault::malformed("a buffer lies outside its message"))?;
        let size = match codec {
            Some(codec) if !bytes.is_empty() => decompressed_bytes(bytes, codec, limit)?,
            _ => bytes.len(),
        };
        if size % shape.width != 0 || size < shape.least {
            return Err(ArrowFault::malformed("a buffer is too short for its column or ends inside a value"));
        }
        sum = sum.saturating_add(size);
        if sum > limit {
            return Err(ArrowFault::TooLarge { limit });
        }
    }
    Ok(sum)
}

/// What a buffer must be like.
struct Shape {
    /// One value, bytes.
    width: usize,
    /// The whole buffer at least, bytes.
    least: usize,
}

impl Shape {
    fn values(width: usize, count: usize) -> Self {
        Self { width, least: width.saturating_mul(count) }
    }

    fn bits(count: usize) -> Self {
        Self { width: 1, least: count.div_ceil(8) }
    }

    fn characters() -> Self {
        Self { width: 1, least: 0 }
    }
}

/// The shape of each buffer of the batch. Every column has one node of the length of the batch, and its own number
/// of buffers.
fn shapes(batch: RecordBatch<'_>, schema: &Schema) -> Result<Vec<Shape>, ArrowFault> {
    let fields = schema.fields();
    let length = batch.length();
    let nodes = batch.nodes().ok_or_else(|| ArrowFault::malformed("a batch without nodes"))?;
    let rows = usize::try_from(length).map_err(ArrowFault::malformed)?;
    if nodes.len() != fields.len()
        || nodes.iter().any(|node| node.length() != length || !(0..=length).contains(&node.null_count()))
    {
        return Err(ArrowFault::malformed("the columns of a batch differ in length"));
    }
    let buffers = batch.buffers().map_or(0, |buffers| buffers.len());
    let wrong = || ArrowFault::malformed("a batch has too few or too many buffers");
    let mut views = batch.variadicBufferCounts().into_iter().flatten();
    let mut shapes = Vec::new();
    // One offset more than rows; a batch without rows may leave out even that.
    let offsets = if rows == 0 { 0 } else { rows.saturating_add(1) };
    for (field, node) in fields.iter().zip(nodes) {
        // Validity goes first in every column, and may be empty where no row is null.
        shapes.push(Shape::bits(if node.null_count() > 0 { rows } else { 0 }));
        match field.data_type() {
            DataType::Utf8 => shapes.extend([Shape::values(size_of::<i32>(), offsets), Shape::characters()]),
            DataType::LargeUtf8 => {
                shapes.extend([Shape::values(size_of::<i64>(), offsets), Shape::characters()])
            }
            DataType::Utf8View => {
                let count = views.next().and_then(|count| usize::try_from(count).ok());
                let count = count.filter(|&count| count <= buffers).ok_or_else(wrong)?;
                shapes.push(Shape::values(size_of::<u128>(), rows));
                shapes.extend((0..count).map(|_| Shape::characters()));
            }
            other => shapes
                .push(other.primitive_width().map_or(Shape::bits(rows), |width| Shape::values(width, rows))),
        }
    }
    if views.next().is_some() || shapes.len() != buffers {
        return Err(wrong());
    }
    Ok(shapes)
}

/// What a compressed buffer takes when decoded, bytes, no matter what it claims.
fn decompressed_bytes(bytes: &[u8], codec: CompressionType, limit: usize) -> Result<usize, ArrowFault> {
    let (claimed, content) = bytes
        .split_first_chunk::<SIZE_BYTES>()
        .ok_or_else(|| ArrowFault::malformed("a compressed buffer without its size"))?;
    let claimed = i64::from_le_bytes(*claimed);
    if claimed == NOT_COMPRESSED {
        return Ok(content.len());
    }
    let claimed = usize::try_from(claimed)
        .map_err(|_| ArrowFault::malformed("a compressed buffer of negative size"))?;
    if claimed > limit {
        return Err(ArrowFault::TooLarge { limit });
    }
    // Arrow decodes Zstandard into exactly the claimed room, but LZ4 to whatever it comes to.
    if codec == CompressionType::LZ4_FRAME && claimed != 0 && lz4_size::decoded(content) != Some(claimed) {
        return Err(ArrowFault::malformed("an LZ4 buffer is not of the size it claims"));
    }
    Ok(claimed)
}
