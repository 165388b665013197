//! Rust's operators on expressions.

use std::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Not, Rem, Sub};

use super::expr::Expr;

macro_rules! binary {
    ($($operation:ident $method:ident $sql:literal;)*) => {$(
        impl<R: Into<Expr>> $operation<R> for Expr {
            type Output = Expr;

            fn $method(self, other: R) -> Expr {
                self.with($sql, other)
            }
        }

        impl<R: Into<Expr>> $operation<R> for &Expr {
            type Output = Expr;

            fn $method(self, other: R) -> Expr {
                self.with($sql, other)
            }
        }
    )*};
}

binary! {
    Add add "+";
    Sub sub "-";
    Mul mul "*";
    Div div "/";
    Rem rem "%";
    BitAnd bitand "AND";
    BitOr bitor "OR";
}

impl Not for Expr {
    type Output = Expr;

    fn not(self) -> Expr {
        self.whole(format!("(NOT {})", self.part()))
    }
}

impl Not for &Expr {
    type Output = Expr;

    fn not(self) -> Expr {
        self.whole(format!("(NOT {})", self.part()))
    }
}

impl Neg for Expr {
    type Output = Expr;

    fn neg(self) -> Expr {
        self.whole(format!("(- {})", self.part()))
    }
}

impl Neg for &Expr {
    type Output = Expr;

    fn neg(self) -> Expr {
        self.whole(format!("(- {})", self.part()))
    }
}
