//! `#[derive(Element)]` of ndshm: see `ndshm::Element`.
//!
//! The macro refuses a type that it can see to be no element, with a message that says what to do.
//! It cannot see the types and offsets of fields. The generated code leaves these to the compiler,
//! by trait bounds and assertions in constants.

mod check;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{DeriveInput, Ident, Member, parse_macro_input, parse_quote};

#[allow(
    missing_docs,
    reason = "ndshm documents its re-export, and rustdoc would show both texts"
)]
#[proc_macro_derive(Element, attributes(element))]
pub fn derive_element(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    implementation(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

fn implementation(input: &DeriveInput) -> syn::Result<Tokens> {
    let check::Checked { fields, is_pod } = check::check(input)?;
    let name = &input.ident;
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let members: Vec<Member> = fields.members().collect();
    let names = members.iter().map(field_name);

    let mut generics = input.generics.clone();
    let is_generic = !generics.params.is_empty();
    if is_generic {
        let bounds = generics.make_where_clause();
        bounds.predicates.extend(
            types
                .iter()
                .map(|ty| -> syn::WherePredicate { parse_quote!(#ty: ::ndshm::Element) }),
        );
    }
    let (for_generics, arguments, bounds) = generics.split_for_impl();

    let no_gaps = members.iter().enumerate().map(|(i, member)| {
        let before = types[..i].iter();
        let message = format!(
            "`{name}` has padding before `{}`: put the fields with the largest alignment first, or \
             fill the gap with a field of its own",
            field_name(member)
        );
        quote! {
            ::core::assert!(
                ::core::mem::offset_of!(Self, #member)
                    == 0 #(+ ::core::mem::size_of::<#before>())*,
                #message
            );
        }
    });
    let no_end = format!(
        "`{name}` has padding at its end: put the smaller fields together, or fill the gap with a \
         field of its own"
    );
    let alignment = format!(
        "`{name}` is aligned to more than 64 bytes, which the payload of an array is not: use a \
         smaller `repr(align)`"
    );

    let pod = (!is_pod).then(|| {
        quote! {
            // SAFETY: all fields are `Element`s, so zeros are valid for each of them.
            unsafe impl #for_generics ::ndshm::__private::bytemuck::Zeroable
                for #name #arguments #bounds {}
            // SAFETY: the struct is `repr(C)`, all its fields are `Element`s and so `Pod`, and it
            // has no padding: the constants above do not compile otherwise, and a generic struct
            // has fields of one type only.
            unsafe impl #for_generics ::ndshm::__private::bytemuck::Pod
                for #name #arguments #bounds {}
        }
    });
    // A generic struct is checked at its uses, any other struct here.
    let checked = (!is_generic)
        .then(|| quote!(const _: ::ndshm::DType = <#name as ::ndshm::Element>::DTYPE;));
    let bounded = types.iter().map(|ty| quote!(assert_element::<#ty>();));
    let bounded = (!is_generic).then(|| {
        quote! {
            const _: fn() = || {
                fn assert_element<T: ::ndshm::Element>() {}
                #(#bounded)*
            };
        }
    });
    // An attribute below the derive may have changed the struct after this macro saw it: the real
    // fields must be these, of these types, and no others.
    let bindings: Vec<_> = (0..types.len())
        .map(|i| format_ident!("field_{i}"))
        .collect();
    let as_declared = quote! {
        fn fields_are_as_declared(&self) {
            let Self { #(#members: #bindings),* } = self;
            #(let _: &#types = #bindings;)*
        }
    };

    Ok(quote! {
        const _: () = {
            #bounded

            impl #for_generics ::ndshm::__private::Struct for #name #arguments #bounds {
                const FIELDS: &'static [::ndshm::Field] = {
                    #(#no_gaps)*
                    ::core::assert!(
                        ::core::mem::size_of::<Self>()
                            == 0 #(+ ::core::mem::size_of::<#types>())*,
                        #no_end
                    );
                    ::core::assert!(::core::mem::align_of::<Self>() <= 64, #alignment);
                    &[#(::ndshm::Field::constant(
                        #names,
                        <#types as ::ndshm::Element>::DTYPE,
                        ::core::mem::offset_of!(Self, #members),
                    )),*]
                };

                #as_declared
            }

            #pod

            // SAFETY: the struct is Pod; the fields are described by their own names, types and
            // offsets, and the size is that of the struct.
            unsafe impl #for_generics ::ndshm::Element for #name #arguments #bounds {
                const DTYPE: ::ndshm::DType = ::ndshm::DType::constant_struct(
                    <Self as ::ndshm::__private::Struct>::FIELDS,
                    ::core::mem::size_of::<Self>(),
                );
            }

            #checked
        };
    })
}

/// The name of a field; NumPy's name for a field of a tuple struct.
fn field_name(member: &Member) -> String {
    match member {
        Member::Named(name) => unraw(name),
        Member::Unnamed(index) => format!("f{}", index.index),
    }
}

fn unraw(name: &Ident) -> String {
    let text = name.to_string();
    text.strip_prefix("r#").map_or(text.clone(), str::to_owned)
}
