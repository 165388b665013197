//! The eight tables of TPC-H.

use std::fmt;

use arrow::array::RecordBatchReader;
use clap::ValueEnum;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Table {
    Lineitem,
    Orders,
    Partsupp,
    Part,
    Customer,
    Supplier,
    Nation,
    Region,
}

impl Table {
    /// Every table, the largest first.
    pub const ALL: [Table; 8] = [
        Table::Lineitem,
        Table::Orders,
        Table::Partsupp,
        Table::Part,
        Table::Customer,
        Table::Supplier,
        Table::Nation,
        Table::Region,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Table::Lineitem => "lineitem",
            Table::Orders => "orders",
            Table::Partsupp => "partsupp",
            Table::Part => "part",
            Table::Customer => "customer",
            Table::Supplier => "supplier",
            Table::Nation => "nation",
            Table::Region => "region",
        }
    }

    /// Rows at a scale factor; for `lineitem`, whose orders have one to seven lines, about as many.
    pub fn rows(self, scale_factor: f64) -> u64 {
        let at_one = match self {
            Table::Lineitem => 6_000_000.0,
            Table::Orders => 1_500_000.0,
            Table::Partsupp => 800_000.0,
            Table::Part => 200_000.0,
            Table::Customer => 150_000.0,
            Table::Supplier => 10_000.0,
            Table::Nation => return 25,
            Table::Region => return 5,
        };
        (at_one * scale_factor) as u64
    }

    /// Makes the rows of part number `part` (from one) of `parts`.
    pub fn generate(self, scale_factor: f64, part: u16, parts: u16) -> Box<dyn RecordBatchReader + Send> {
        let (part, parts) = (i32::from(part), i32::from(parts));
        match self {
            Table::Lineitem => Box::new(
                LineItemArrow::new(LineItemGenerator::new(scale_factor, part, parts))
                    .with_batch_size(BATCH_ROWS),
            ),
            Table::Orders => Box::new(
                OrderArrow::new(OrderGenerator::new(scale_factor, part, parts)).with_batch_size(BATCH_ROWS),
            ),
            Table::Partsupp => Box::new(
                PartSuppArrow::new(PartSuppGenerator::new(scale_factor, part, parts))
                    .with_batch_size(BATCH_ROWS),
            ),
            Table::Part => Box::new(
                PartArrow::new(PartGenerator::new(scale_factor, part, parts)).with_batch_size(BATCH_ROWS),
            ),
            Table::Customer => Box::new(
                CustomerArrow::new(CustomerGenerator::new(scale_factor, part, parts))
                    .with_batch_size(BATCH_ROWS),
            ),
            Table::Supplier => Box::new(
                SupplierArrow::new(SupplierGenerator::new(scale_factor, part, parts))
                    .with_batch_size(BATCH_ROWS),
            ),
            Table::Nation => Box::new(NationArrow::new(NationGenerator::new(scale_factor, part, parts))),
            Table::Region => Box::new(RegionArrow::new(RegionGenerator::new(scale_factor, part, parts))),
        }
    }
}

const BATCH_ROWS: usize = 8192;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specified_row_counts_are_known() {
        assert_eq!(Table::Orders.rows(10.0), 15_000_000);
        assert_eq!(Table::Supplier.rows(0.01), 100);
        assert_eq!(Table::Nation.rows(100.0), 25);
    }

    #[test]
    fn a_table_is_called_by_its_name_on_the_command_line() {
        for table in Table::ALL {
            assert_eq!(<Table as ValueEnum>::from_str(table.name(), false), Ok(table));
        }
    }
}
